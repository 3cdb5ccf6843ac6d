//! Timestamps for people.

use std::fmt;

const MS_PER_DAY: i64 = 86_400_000;
/// The first millisecond of the year 10000: later ones are no clock's.
const END_OF_CALENDAR_MS: i64 = 253_402_300_800_000;

/// Milliseconds since 1970, shown as RFC 3339 in UTC; `none` for -1, the number for what no calendar has.
pub struct When(
    /// The milliseconds.
    pub i64,
);

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = match self.0 {
            -1 => return f.write_str("none"),
            ms if !(0..END_OF_CALENDAR_MS).contains(&ms) => return write!(f, "{ms}"),
            ms => ms,
        };
        let (year, month, day) = civil_from_days(ms / MS_PER_DAY);
        let (s, ms) = (ms % MS_PER_DAY / 1000, ms % 1000);
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{ms:03}Z", s / 3600, s / 60 % 60, s % 60)
    }
}

/// Year, month and day of a day counted from 1970. Years are counted from March here, so that the leap day is the
/// last of its year.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    const DAYS_PER_ERA: i64 = 146_097;
    let days = days + 719_468;
    let (era, day_of_era) = (days / DAYS_PER_ERA, days % DAYS_PER_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_shown() {
        for (ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (1_700_000_000_123, "2023-11-14T22:13:20.123Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
            (END_OF_CALENDAR_MS - 1, "9999-12-31T23:59:59.999Z"),
            (-1, "none"),
            (-2, "-2"),
            (i64::MAX, "9223372036854775807"),
        ] {
            assert_eq!(When(ms).to_string(), text);
        }
    }
}
