//! Values with a unit, as people write them: `"250ms"`, `"200/s"`, `0.01`, `"1..200"`, `"1ms..10ms"`, `"+30s"`.
//!
//! Each type reads itself from TOML (and from text with `FromStr`), refuses what it does not understand with what it
//! expected, and writes itself back in the form it reads. None rounds: a value that does not fit is refused.

use std::fmt;
use std::str::FromStr;
use std::time::Duration as Span;

use serde::de::{self, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not the unit it should be; says what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{written:?} is not {expected}")]
pub struct UnitError {
    /// What was written.
    pub written: String,
    /// What should have been.
    pub expected: &'static str,
}

/// A length of time, not negative, exact to the nanosecond: `"250ms"`, `"2m"`, `"1m30s"`, `"1.5s"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Duration(pub Span);

/// A length of time with a sign, for clock steps: `"+30s"`, `"-2s"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SignedDuration {
    /// True for a step back.
    pub negative: bool,
    /// How far.
    pub length: Span,
}

/// So many in a period: `"200/s"`, `"30/m"`. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many in one period.
    pub count: u32,
    /// The period: a second, a minute or an hour.
    pub per: Span,
}

/// A probability from 0 to 1, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Probability(f64);

/// Seeds from the first to the last, both included: `"1..200"` is two hundred seeds, `"7"` is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeedRange {
    /// The first seed.
    pub first: u64,
    /// The last seed, itself included.
    pub last: u64,
}

/// A delay drawn evenly from a range, or a fixed one: `"1ms..10ms"`, `"5ms"`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DelayRange {
    /// The shortest.
    pub low: Span,
    /// The longest.
    pub high: Span,
}

impl Duration {
    /// The same as std's type.
    pub fn get(self) -> Span {
        self.0
    }
}

impl SignedDuration {
    /// Whole nanoseconds, with the sign; saturates at the ends of `i64` (292 years).
    pub fn nanoseconds(self) -> i64 {
        let length = i64::try_from(self.length.as_nanos()).unwrap_or(i64::MAX);
        if self.negative { -length } else { length }
    }
}

impl Rate {
    /// The time from one to the next, when they are evenly spaced.
    pub fn interval(self) -> Span {
        self.per / self.count
    }

    /// How many in a second.
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / self.per.as_secs_f64()
    }
}

impl Probability {
    /// From a number, if it is one.
    pub fn new(value: f64) -> Option<Self> {
        (0.0..=1.0).contains(&value).then_some(Self(value))
    }

    /// The number, from 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }
}

impl SeedRange {
    /// Every seed, in order.
    pub fn iter(self) -> impl Iterator<Item = u64> {
        self.first..=self.last
    }

    /// How many seeds; saturates at the largest `u64`.
    pub fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

impl DelayRange {
    /// The delay at `share` (0 to 1) of the way from the shortest to the longest.
    pub fn at(self, share: f64) -> Span {
        self.low + (self.high - self.low).mul_f64(share.clamp(0.0, 1.0))
    }
}

const DURATION: &str = "a duration such as \"250ms\", \"2m\" or \"1m30s\"";
const SIGNED: &str = "a signed duration such as \"+30s\" or \"-2s\"";
const RATE: &str = "a rate such as \"200/s\" or \"30/m\"";
const PROBABILITY: &str = "a probability from 0 to 1";
const SEEDS: &str = "a range of seeds such as \"1..200\", both ends included";
const DELAYS: &str = "a duration or a range of durations such as \"1ms..10ms\"";

fn not(written: &str, expected: &'static str) -> UnitError {
    UnitError { written: written.to_owned(), expected }
}

/// `1m30s`, `1.5s`, `0s`: numbers each followed by a unit, each unit smaller than the one before.
fn read_span(text: &str) -> Option<Span> {
    const UNITS: [(&str, u64); 6] = [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ];
    let mut rest = text;
    let mut total: u64 = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let place = UNITS.iter().position(|(name, _)| *name == unit)?;
        if place < next_unit {
            return None;
        }
        next_unit = place + 1;
        let scale = UNITS[place].1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.contains('.') {
            return None;
        }
        total = total.checked_add(whole.parse::<u64>().ok()?.checked_mul(scale)?)?;
        if !fraction.is_empty() {
            let parts = 10u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
            let scaled = u128::from(fraction.parse::<u64>().ok()?) * u128::from(scale);
            if scaled % u128::from(parts) != 0 {
                return None;
            }
            total = total.checked_add(u64::try_from(scaled / u128::from(parts)).ok()?)?;
        }
        rest = after;
    }
    (!text.is_empty()).then(|| Span::from_nanos(total))
}

fn write_span(f: &mut fmt::Formatter<'_>, span: Span) -> fmt::Result {
    let mut rest = span.as_nanos();
    if rest == 0 {
        return f.write_str("0s");
    }
    for (unit, scale) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        let whole = rest / scale;
        if whole > 0 {
            write!(f, "{whole}{unit}")?;
            rest -= whole * scale;
        }
    }
    Ok(())
}

impl FromStr for Duration {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        read_span(text).map(Self).ok_or_else(|| not(text, DURATION))
    }
}

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_span(f, self.0)
    }
}

impl FromStr for SignedDuration {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (negative, length) = match (text.strip_prefix('+'), text.strip_prefix('-')) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            _ => return Err(not(text, SIGNED)),
        };
        read_span(length).map(|length| Self { negative, length }).ok_or_else(|| not(text, SIGNED))
    }
}

impl fmt::Display for SignedDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.negative { "-" } else { "+" })?;
        write_span(f, self.length)
    }
}

impl FromStr for Rate {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let read = || {
            let (count, per) = text.split_once('/')?;
            let per = match per {
                "s" => Span::from_secs(1),
                "m" => Span::from_secs(60),
                "h" => Span::from_secs(3600),
                _ => return None,
            };
            let count = count.parse().ok().filter(|count| *count > 0)?;
            Some(Self { count, per })
        };
        read().ok_or_else(|| not(text, RATE))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per = match self.per.as_secs() {
            1 => "s",
            60 => "m",
            _ => "h",
        };
        write!(f, "{}/{per}", self.count)
    }
}

impl FromStr for SeedRange {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (first, last) = text.split_once("..").unwrap_or((text, text));
        match (first.parse(), last.parse()) {
            (Ok(first), Ok(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(not(text, SEEDS)),
        }
    }
}

impl fmt::Display for SeedRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}..{}", self.first, self.last)
        }
    }
}

impl FromStr for DelayRange {
    type Err = UnitError;
    fn from_str(text: &str) -> Result<Self, UnitError> {
        let (low, high) = text.split_once("..").unwrap_or((text, text));
        match (read_span(low), read_span(high)) {
            (Some(low), Some(high)) if low <= high => Ok(Self { low, high }),
            _ => Err(not(text, DELAYS)),
        }
    }
}

impl fmt::Display for DelayRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_span(f, self.low)?;
        if self.high != self.low {
            f.write_str("..")?;
            write_span(f, self.high)?;
        }
        Ok(())
    }
}

/// Reads and writes a text type through serde, saying what was expected.
macro_rules! as_text {
    ($($type:ty => $expected:expr),*) => {
        $(impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                struct Text;
                impl Visitor<'_> for Text {
                    type Value = $type;
                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }
                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$type, E> {
                        text.parse().map_err(|_: UnitError| E::invalid_value(Unexpected::Str(text), &self))
                    }
                }
                from.deserialize_str(Text)
            }
        }

        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }
        })*
    };
}
as_text!(Duration => DURATION, SignedDuration => SIGNED, Rate => RATE, SeedRange => SEEDS, DelayRange => DELAYS);

impl<'de> Deserialize<'de> for Probability {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Probability;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(PROBABILITY)
            }
            fn visit_f64<E: de::Error>(self, number: f64) -> Result<Probability, E> {
                Probability::new(number).ok_or_else(|| E::invalid_value(Unexpected::Float(number), &self))
            }
            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Probability, E> {
                match number {
                    0 => Ok(Probability(0.0)),
                    1 => Ok(Probability(1.0)),
                    _ => Err(E::invalid_value(Unexpected::Signed(number), &self)),
                }
            }
        }
        from.deserialize_any(Number)
    }
}

impl Serialize for Probability {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_f64(self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_exactly_and_written_as_they_are_read() {
        for (text, nanoseconds, written) in [
            ("250ms", 250_000_000, "250ms"),
            ("1m30s", 90_000_000_000, "1m30s"),
            ("90s", 90_000_000_000, "1m30s"),
            ("1.5s", 1_500_000_000, "1s500ms"),
            ("0s", 0, "0s"),
            ("2h", 7_200_000_000_000, "2h"),
            ("3us7ns", 3_007, "3us7ns"),
        ] {
            let read: Duration = text.parse().unwrap();
            assert_eq!(read.get().as_nanos(), nanoseconds, "{text}");
            assert_eq!(read.to_string(), written);
            assert_eq!(written.parse::<Duration>().unwrap(), read);
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "s",
            "5",
            "5 s",
            "-5s",
            "5s1m",
            "1s1s",
            "1.s",
            ".5s",
            "1.2.3s",
            "0.1ns",
            "99999999999h",
            "5days",
            "１s",
        ] {
            assert_eq!(text.parse::<Duration>().unwrap_err(), not(text, DURATION), "{text:?}");
        }
    }

    #[test]
    fn rates_ranges_and_steps_are_read() {
        let rate: Rate = "200/s".parse().unwrap();
        assert_eq!((rate.interval(), rate.to_string()), (Span::from_millis(5), "200/s".to_owned()));
        assert_eq!("30/m".parse::<Rate>().unwrap().interval(), Span::from_secs(2));
        for text in ["0/s", "5", "5/d", "-1/s", "5/s/s"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
        let seeds: SeedRange = "1..200".parse().unwrap();
        assert_eq!((seeds.count(), seeds.iter().last()), (200, Some(200)));
        assert_eq!("7".parse::<SeedRange>().unwrap().count(), 1);
        let delay: DelayRange = "1ms..10ms".parse().unwrap();
        assert_eq!((delay.at(0.0), delay.at(1.0)), (Span::from_millis(1), Span::from_millis(10)));
        assert_eq!("5ms".parse::<DelayRange>().unwrap().to_string(), "5ms");
        assert_eq!("+30s".parse::<SignedDuration>().unwrap().nanoseconds(), 30_000_000_000);
        assert_eq!("-2s".parse::<SignedDuration>().unwrap().nanoseconds(), -2_000_000_000);
        assert!("30s".parse::<SignedDuration>().is_err());
    }

    #[test]
    fn a_probability_is_from_nought_to_one() {
        assert_eq!(Probability::new(0.25).map(Probability::get), Some(0.25));
        for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
            assert_eq!(Probability::new(wrong), None, "{wrong}");
        }
    }
}
