//! Moments as people write them: RFC 3339, `2026-11-22T18:30:00Z`.

const DAY: i64 = 24 * 60 * 60 * 1000;

/// The moment in UTC, to the millisecond.
pub(super) fn to_text(ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(DAY));
    let time = ms.rem_euclid(DAY);
    let (hours, minutes, seconds) = (time / 3_600_000, time / 60_000 % 60, time / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{:03}Z", time % 1000)
}

/// Milliseconds since 1970 of a moment in RFC 3339; a space may stand for the `T`, and no zone means UTC.
pub(super) fn parse(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no moment: write it like 2026-11-22T18:30:00Z");
    if !text.is_ascii() || text.len() < 19 || !matches!(text.as_bytes()[10], b'T' | b't' | b' ') {
        return Err(wrong());
    }
    let number = |range: std::ops::Range<usize>| {
        let digits = text.get(range).filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()));
        digits.and_then(|digits| digits.parse::<i64>().ok()).ok_or_else(wrong)
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')];
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let days = days(year, month, day);
    let is_there = civil(days) == (year, month, day) && hour < 24 && minute < 60 && second < 61;
    if !is_there || marks.iter().any(|(at, mark)| text.as_bytes()[*at] != *mark) {
        return Err(wrong());
    }
    let mut rest = &text[19..];
    let mut ms = ((days * 24 + hour) * 60 + minute) * 60_000 + second * 1000;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.find(|c: char| !c.is_ascii_digit()).unwrap_or(fraction.len());
        if end == 0 {
            return Err(wrong());
        }
        let digits = format!("{:0<3}", &fraction[..end.min(3)]);
        ms += digits.parse::<i64>().map_err(|_| wrong())?;
        rest = &fraction[end..];
    }
    let offset = match rest.as_bytes() {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let at = text.len() - 5;
            let minutes = number(at..at + 2)? * 60 + number(at + 3..at + 5)?;
            if *sign == b'+' { minutes } else { -minutes }
        }
        _ => return Err(wrong()),
    };
    Ok(ms - offset * 60_000)
}

/// Days since 1970-01-01 of a date in the Gregorian calendar, which repeats after 400 years (146,097 days). Years
/// begin in March here, so that the day that may be missing is the last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    let (era, year) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * month + 2) / 5 + day - 1;
    // 719,468 days from 0000-03-01 to 1970-01-01.
    era * 146_097 + year * 365 + year / 4 - year / 100 + of_year - 719_468
}

/// The date that is so many days after 1970-01-01: the other way round.
fn civil(since_1970: i64) -> (i64, i64, i64) {
    let shifted = since_1970 + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, late) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + late, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_written_and_read_back() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_827_696_789, "2000-02-29T12:34:56.789Z"),
            (1_795_372_200_000, "2026-11-22T18:30:00.000Z"),
            (-1, "1969-12-31T23:59:59.999Z"),
        ] {
            assert_eq!(to_text(ms), text);
            assert_eq!(parse(text), Ok(ms));
        }
        assert_eq!(parse("2026-11-22 18:30:00"), Ok(1_795_372_200_000));
        assert_eq!(parse("2026-11-22T20:00:00.5+01:30"), Ok(1_795_372_200_500));
        for wrong in
            ["", "yesterday", "2026-02-30T00:00:00Z", "2026-11-22T24:00:00Z", "2026-11-22T18:30:00+1"]
        {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_is_written_and_read_back() {
        for day in 0..146_097 {
            let ms = day * DAY + 12_345_678;
            assert_eq!(parse(&to_text(ms)), Ok(ms));
        }
    }
}
