//! Times as text: RFC 3339 in UTC, microseconds, zeros at the end left out.

/// The days from 1 January of the year 0 to 1 January 1970 (proleptic Gregorian calendar).
const DAYS_TO_1970: i64 = 719_528;
const DAY_US: i64 = 86_400_000_000;
/// The first microsecond that RFC 3339, with its four digits for the year, cannot write.
const END_US: i64 = 253_402_300_800_000_000;
/// The first microsecond that it can write: the year 0.
const START_US: i64 = -DAYS_TO_1970 * DAY_US;

/// Writes a time given in microseconds since 1970; one outside the years 0 to 9999 is moved to the
/// nearest that can be written.
///
/// A replay writes two of these an event, so it is done by hand; a test compares with jiff.
pub fn write(out: &mut Vec<u8>, time_us: i64) {
    let time_us = time_us.clamp(START_US, END_US - 1);
    let (days, of_day_us) = (time_us.div_euclid(DAY_US), time_us.rem_euclid(DAY_US));
    let (year, month, day) = civil(days + DAYS_TO_1970);
    let of_day_s = of_day_us / 1_000_000;
    let mut text = *b"0000-00-00T00:00:00.000000";
    digits(&mut text, 0, 4, year);
    digits(&mut text, 5, 2, month);
    digits(&mut text, 8, 2, day);
    digits(&mut text, 11, 2, of_day_s / 3_600);
    digits(&mut text, 14, 2, of_day_s / 60 % 60);
    digits(&mut text, 17, 2, of_day_s % 60);
    digits(&mut text, 20, 6, of_day_us % 1_000_000);
    let zeros = text
        .iter()
        .rev()
        .take_while(|byte| **byte == b'0')
        .count()
        .min(6);
    // Without a fraction the point goes, too.
    let len = text.len() - zeros - usize::from(zeros == 6);
    out.extend_from_slice(text.get(..len).unwrap_or(&text));
    out.push(b'Z');
}

fn digits(text: &mut [u8], start: usize, count: usize, mut number: i64) {
    for place in text.iter_mut().skip(start).take(count).rev() {
        *place = b'0' + u8::try_from(number % 10).unwrap_or(0);
        number /= 10;
    }
}

/// Year, month and day of a day counted from 1 January of the year 0, for days that are not
/// negative. Counts years from March, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    // 1 March of the year -400 begins a cycle of 400 years (146,097 days) and keeps all positive.
    let from_march = days - 60 + 146_097;
    let (era, of_era) = (from_march / 146_097, from_march % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = (era - 1) * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

/// Reads a time with its offset from UTC, in microseconds since 1970; what is finer is cut off.
/// None if it is no such time, or its year does not have four digits.
pub fn read(text: &str) -> Option<i64> {
    // jiff reads more than RFC 3339 has: other separators, weeks, names of zones in brackets.
    let bytes = text.as_bytes();
    let shaped = bytes.len() <= 64
        && bytes.get(..4)?.iter().all(u8::is_ascii_digit)
        && bytes.get(4) == Some(&b'-')
        && bytes.get(7) == Some(&b'-')
        && matches!(bytes.get(10), Some(b'T' | b't' | b' '))
        && bytes.get(13) == Some(&b':')
        && bytes.get(16) == Some(&b':')
        && !bytes.contains(&b'[');
    if !shaped {
        return None;
    }
    let (head, tail) = (text.get(..19)?, text.get(19..)?);
    let digits = match tail.strip_prefix('.') {
        Some(fraction) => fraction.bytes().take_while(u8::is_ascii_digit).count(),
        None => 0,
    };
    // jiff takes nine digits of a fraction at most.
    let fraction = tail
        .get(..=digits.min(9))
        .filter(|_| digits > 0)
        .unwrap_or("");
    let offset = tail
        .get(1 + digits..)
        .filter(|_| digits > 0)
        .unwrap_or(tail);
    // It also ends a day before the year 9999 does, so that year is read 400 years, a full cycle of
    // the calendar, earlier.
    let (year, cycle_us) = match head.get(..4)? {
        "9999" => ("9599", 146_097 * DAY_US),
        year => (year, 0),
    };
    let rest = head.get(4..)?;
    let time: jiff::Timestamp = format!("{year}{rest}{fraction}{offset}").parse().ok()?;
    Some(time.as_microsecond() + cycle_us).filter(|time_us| (START_US..END_US).contains(time_us))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(time_us: i64) -> String {
        let mut out = Vec::new();
        write(&mut out, time_us);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn times_are_written_in_utc_without_needless_zeros() {
        assert_eq!(written(0), "1970-01-01T00:00:00Z");
        assert_eq!(written(1_500_000), "1970-01-01T00:00:01.5Z");
        assert_eq!(written(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(written(951_782_400_000_001), "2000-02-29T00:00:00.000001Z");
        assert_eq!(written(i64::MIN), "0000-01-01T00:00:00Z");
        assert_eq!(written(i64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn what_is_no_time_with_an_offset_is_refused() {
        for bad in [
            "",
            "2013-01-01",
            "2013-01-01T05:15:00",
            "2013-13-01T05:15:00Z",
            "20130101T051500Z",
            "2013-01-01T05:15:00+00:00[UTC]",
            "-002013-01-01T05:15:00Z",
            "now",
        ] {
            assert_eq!(read(bad), None, "{bad}");
        }
        assert_eq!(read("1970-01-01T01:00:00.0000019+01:00"), Some(1));
    }

    #[test]
    fn the_last_year_and_long_fractions_are_read() {
        for last in [
            "9999-12-31T23:59:59.999999Z",
            "9999-12-31T23:59:59.999999999Z",
            "9999-12-31T23:59:59.9999999999999Z",
        ] {
            assert_eq!(read(last), Some(END_US - 1), "{last}");
        }
        assert_eq!(read("9999-12-31T23:59:59Z"), Some(END_US - 1_000_000));
        assert_eq!(read("1970-01-01T00:00:00.0000010000001Z"), Some(1));
        assert_eq!(read("1970-01-01T00:00:00.Z"), None);
    }

    proptest! {
        #[test]
        fn every_time_is_written_as_jiff_writes_it(time_us in START_US..END_US) {
            let theirs = jiff::Timestamp::from_microsecond(time_us).unwrap();
            prop_assert_eq!(written(time_us), theirs.to_string());
            prop_assert_eq!(read(&written(time_us)), Some(time_us));
        }
    }
}
