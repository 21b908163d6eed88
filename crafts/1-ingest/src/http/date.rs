//! The `Date` header, which a server that has a clock must send (RFC 9110 section 6.6.1), written once a second.

use std::time::{SystemTime, UNIX_EPOCH};

const SECONDS_A_DAY: u64 = 86_400;
const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"]; // 1970 began with a Thursday
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A whole header line, ready to be copied.
#[derive(Clone, Debug)]
pub(super) struct DateLine {
    second: Option<u64>,
    line: [u8; 37],
}

impl Default for DateLine {
    fn default() -> Self {
        Self { second: None, line: *b"Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n" }
    }
}

impl DateLine {
    /// Writes the line anew if the second is another one.
    pub(super) fn set(&mut self, now: SystemTime) {
        let second = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        if self.second != Some(second) {
            self.second = Some(second);
            self.write(second);
        }
    }

    /// Nothing, as long as nobody said what time it is.
    pub(super) fn as_bytes(&self) -> &[u8] {
        if self.second.is_some() { &self.line } else { b"" }
    }

    fn write(&mut self, second: u64) {
        let (days, in_day) = (second / SECONDS_A_DAY, second % SECONDS_A_DAY);
        let (year, month, day) = civil(days);
        let day_name = DAYS[usize::try_from(days % 7).unwrap_or_default()];
        let month_name = MONTHS[usize::try_from(month - 1).unwrap_or_default()];
        self.line[6..9].copy_from_slice(day_name);
        self.digits(11, day);
        self.line[14..17].copy_from_slice(month_name);
        self.digits(18, year / 100);
        self.digits(20, year % 100);
        self.digits(23, in_day / 3600);
        self.digits(26, in_day / 60 % 60);
        self.digits(29, in_day % 60);
    }

    fn digits(&mut self, at: usize, number: u64) {
        let digit = |n: u64| b'0' + u8::try_from(n % 10).unwrap_or_default();
        self.line[at..at + 2].copy_from_slice(&[digit(number / 10), digit(number)]);
    }
}

/// Year, month and day of a day since 1970, in years that begin in March so that the leap day comes last (Howard Hinnant,
/// "chrono-compatible low-level date algorithms").
fn civil(days_since_1970: u64) -> (u64, u64, u64) {
    const DAYS_IN_ERA: u64 = 146_097; // 400 years
    let days = days_since_1970 + 719_468; // since 0000-03-01
    let (era, day_of_era) = (days / DAYS_IN_ERA, days % DAYS_IN_ERA);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn line(second: u64) -> String {
        let mut date = DateLine::default();
        date.set(UNIX_EPOCH + Duration::from_secs(second));
        String::from_utf8(date.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn dates_are_written_as_the_rfc_has_them() {
        assert_eq!(line(784_111_777), "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "RFC 9110 section 5.6.7");
        assert_eq!(line(0), "Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
        assert_eq!(line(951_782_400), "Date: Tue, 29 Feb 2000 00:00:00 GMT\r\n", "a leap day of a century");
        assert_eq!(line(4_107_542_399), "Date: Sun, 28 Feb 2100 23:59:59 GMT\r\n");
        assert_eq!(line(4_107_542_400), "Date: Mon, 01 Mar 2100 00:00:00 GMT\r\n", "a century without one");
        assert_eq!(line(253_402_300_799), "Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    }

    #[test]
    fn without_a_clock_there_is_no_date() {
        assert_eq!(DateLine::default().as_bytes(), b"");
    }
}
