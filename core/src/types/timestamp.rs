use std::fmt;
use std::str::FromStr;

use super::{Error, ErrorKind, Result};

/// A moment in milliseconds since 1970, UTC. As text it is RFC 3339: `2026-05-01T12:00:00.250Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Timestamp(i64);

const MS_A_DAY: i64 = 86_400_000;

impl Timestamp {
    /// So many milliseconds after 1970.
    pub fn from_unix_ms(ms: i64) -> Timestamp {
        Timestamp(ms)
    }

    /// Milliseconds since 1970.
    pub fn unix_ms(self) -> i64 {
        self.0
    }
}

impl FromStr for Timestamp {
    type Err = Error;

    /// Reads RFC 3339: a date, a time with or without a fraction of a second, and `Z` or an offset. Digits
    /// beyond the millisecond are dropped. `InvalidArgument` for anything else.
    fn from_str(text: &str) -> Result<Timestamp> {
        let unreadable = || {
            let message = format!("{text:?} is no time: it must look like 2026-05-01T12:00:00.250Z");
            Error::new(ErrorKind::InvalidArgument, message)
        };
        parse(text).map(Timestamp).ok_or_else(unreadable)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0.div_euclid(MS_A_DAY), self.0.rem_euclid(MS_A_DAY));
        let (year, month, day) = date(days);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
    }
}

fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let (date_time, mut rest) = bytes.split_at_checked(19)?;
    let shape = b"0000-00-00T00:00:00";
    let fits = |(&found, &expected): (&u8, &u8)| match expected {
        b'0' => found.is_ascii_digit(),
        b'T' => matches!(found, b'T' | b't' | b' '),
        other => found == other,
    };
    if !date_time.iter().zip(shape).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| digits(&date_time[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // 60 is a leap second.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_since_1970(year, month, day)?;
    let mut ms = 0;
    if let Some(after) = rest.strip_prefix(b".") {
        let length = after.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (fraction, after) = after.split_at(length);
        let mut padded = fraction.get(..fraction.len().min(3)).filter(|digits| !digits.is_empty())?.to_vec();
        padded.resize(3, b'0');
        (ms, rest) = (digits(&padded)?, after);
    }
    let offset_minutes = match rest {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            let minutes = (hours <= 23 && minutes <= 59).then_some(hours * 60 + minutes)?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    let seconds = (hour * 60 + minute - offset_minutes) * 60 + second;
    Some(days * MS_A_DAY + seconds * 1000 + ms)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes
        .iter()
        .try_fold(0, |number, &byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, if there is such a day.
fn days_since_1970(year: i64, month: i64, day: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    (1..=length).contains(&day).then(|| first_of(year, month) + day - 1)
}

/// Days from 1970-01-01 to the first of a month. Years begin in March here, so that a leap day ends one.
fn first_of(year: i64, month: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 - 719_468
}

/// The year, month and day so many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    // No year before it is too late, and few after it are too early.
    let mut year = 1970 + days.div_euclid(365).max(days.div_euclid(366));
    while first_of(year, 1) > days {
        year -= 1;
    }
    let month = (1..=12).rev().find(|&month| first_of(year, month) <= days).unwrap_or(1);
    (year, month, days - first_of(year, month) + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{prop_assert_eq, proptest};

    use super::*;

    #[test]
    fn texts_are_moments() {
        let ms = |text: &str| text.parse::<Timestamp>().unwrap().unix_ms();
        assert_eq!(ms("1970-01-01T00:00:00Z"), 0);
        assert_eq!(ms("2023-11-14T22:13:20.12Z"), 1_700_000_000_120);
        assert_eq!(ms("2023-11-15T00:13:20.1239999+02:00"), 1_700_000_000_123);
        assert_eq!(ms("2000-02-29 00:00:00z"), 951_782_400_000);
        assert_eq!(ms("1969-12-31T23:59:59.999Z"), -1);
        for text in [
            "",
            "2023-11-14",
            "2023-02-29T00:00:00Z",
            "2023-11-14T22:13:20",
            "2023-11-14T24:00:00Z",
            "2023-11-14T22:13:20.Z",
            "x023-11-14T22:13:20Z",
            "2023-11-14T22:13:20+2:00",
            "2023-13-01T00:00:00Z",
        ] {
            let error = text.parse::<Timestamp>().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_moment_survives_its_text(ms in -62_135_596_800_000i64..253_402_300_800_000) {
            let moment = Timestamp::from_unix_ms(ms);
            prop_assert_eq!(moment.to_string().parse::<Timestamp>().unwrap(), moment);
        }
    }
}
