//! Figures as people read them: three digits that matter, and a unit of a size that fits.

/// Three digits that matter, with thin groups of thousands: `0.123`, `4.56`, `78.9`, `1 234`.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() {
        "–".to_owned()
    } else if size >= 100.0 {
        count(value.round() as i64)
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size == 0.0 {
        "0".to_owned()
    } else if size >= 1.0 {
        format!("{value:.2}")
    } else {
        let digits = (2.0 - size.log10().floor()).clamp(3.0, 9.0) as usize;
        format!("{value:.digits$}")
    }
}

/// A whole number with groups of thousands.
pub fn count(value: impl Into<i64>) -> String {
    let value: i64 = value.into();
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "−" } else { "" });
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// The factor and unit in which nanoseconds of about this size are best read.
pub fn time_unit(nanos: f64) -> (f64, &'static str) {
    match nanos.abs() {
        n if n < 1e3 => (1.0, "ns"),
        n if n < 1e6 => (1e-3, "µs"),
        n if n < 1e9 => (1e-6, "ms"),
        _ => (1e-9, "s"),
    }
}

/// Bytes as people say them.
pub fn bytes(size: u64) -> String {
    match size {
        n if n >= 1 << 20 && n.is_multiple_of(1 << 20) => format!("{} MiB", n >> 20),
        n if n >= 1 << 10 && n.is_multiple_of(1 << 10) => format!("{} KiB", n >> 10),
        n => format!("{n} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_keep_three_digits_that_matter() {
        for (value, text) in [
            (0.0, "0"),
            (0.001234, "0.00123"),
            (0.5, "0.500"),
            (1.0, "1.00"),
            (12.345, "12.3"),
            (123.4, "123"),
            (1_234_567.0, "1\u{202f}234\u{202f}567"),
            (-2.5, "-2.50"),
            (f64::NAN, "–"),
        ] {
            assert_eq!(figure(value), text);
        }
        assert_eq!(count(999), "999");
        assert_eq!(count(-1000), "−1\u{202f}000");
        assert_eq!(
            (bytes(64), bytes(1024), bytes(16 << 20)),
            ("64 B".into(), "1 KiB".into(), "16 MiB".into())
        );
        assert_eq!(time_unit(2_500.0).1, "µs");
    }
}
