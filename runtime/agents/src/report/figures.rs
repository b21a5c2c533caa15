//! Counts, times and sizes as people read them.

/// A count, its thousands apart.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (n, digit) in digits.chars().enumerate() {
        if n > 0 && (digits.len() - n).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A measure: whole numbers as counts, others with two places.
pub fn number(value: f64) -> String {
    if value.fract() == 0.0 && (0.0..1e15).contains(&value) {
        count(value as u64)
    } else {
        format!("{value:.2}")
    }
}

/// A time from seconds.
pub fn seconds(seconds: f64) -> String {
    millis((seconds.max(0.0) * 1000.0) as u64)
}

/// A time from milliseconds.
pub fn millis(millis: u64) -> String {
    match millis {
        0..=999 => format!("{millis} ms"),
        1000..=9_999 => format!("{:.1} s", millis as f64 / 1000.0),
        10_000..=59_999 => format!("{} s", millis / 1000),
        60_000..=3_599_999 => format!("{} min {:02} s", millis / 60_000, millis / 1000 % 60),
        _ => format!("{} h {:02} min", millis / 3_600_000, millis / 60_000 % 60),
    }
}

/// A size from bytes.
pub fn bytes(bytes: u64) -> String {
    let (mut size, mut unit) = (bytes as f64, "B");
    for next in ["KiB", "MiB", "GiB", "TiB"] {
        if size < 1024.0 {
            break;
        }
        (size, unit) = (size / 1024.0, next);
    }
    if unit == "B" || size >= 100.0 { format!("{size:.0} {unit}") } else { format!("{size:.1} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well_at_every_size() {
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([3.0, 0.5, 12_000.0].map(number), ["3", "0.50", "12,000"]);
        assert_eq!(
            [5, 1500, 12_400, 65_000, 3_720_000].map(millis),
            ["5 ms", "1.5 s", "12 s", "1 min 05 s", "1 h 02 min"]
        );
        assert_eq!([12, 2048, 200 << 20].map(bytes), ["12 B", "2.0 KiB", "200 MiB"]);
    }
}
