//! Numbers, times and sizes for people.

/// `1200` as `1,200`.
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// US dollars: `$2.00`, `$0.19`; what is less than a cent with two digits that count: `$0.0031`.
#[must_use]
pub fn dollars(usd: f64) -> String {
    if usd <= 0.0 || usd >= 0.01 {
        let cents = (usd.max(0.0) * 100.0).round() as u64;
        return format!("${}.{:02}", thousands(cents / 100), cents % 100);
    }
    let digits = (1.0 - usd.log10().floor()) as usize;
    format!("${usd:.0$}", digits.min(12))
}

/// A count that is only guessed, short: `~950`, `~12 k`, `~3.1 M`.
#[must_use]
pub fn about(number: u64) -> String {
    match number {
        0..1000 => format!("~{number}"),
        1000..10_000 => format!("~{:.1} k", number as f64 / 1e3),
        10_000..1_000_000 => format!("~{:.0} k", number as f64 / 1e3),
        _ => format!("~{:.1} M", number as f64 / 1e6),
    }
}

/// `1 row`, `1,200 rows`.
#[must_use]
pub fn count(number: u64, word: &str) -> String {
    format!("{} {word}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// Seconds for people: `0.4 s`, `41.2 s`, `3 min 05 s`, `2 h 10 min`.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// Bytes for people: `512 B`, `1.4 MB`.
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if number < 1000 {
        return format!("{number} B");
    }
    let mut value = number as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// How long ago that was: `12 s`, `3 min`, `5 h`, `4 days`.
#[must_use]
pub fn age(at_millis: u64, now_millis: u64) -> String {
    match now_millis.saturating_sub(at_millis) / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

/// `4.9/s`, `1,234/s`, `12/min` where it is slow; nothing where nothing moves.
#[must_use]
pub fn rate(per_second: f64) -> Option<String> {
    match per_second {
        _ if per_second >= 9.95 => Some(format!("{}/s", thousands(per_second.round() as u64))),
        _ if per_second >= 0.95 => Some(format!("{per_second:.1}/s")),
        _ if per_second * 60.0 >= 9.95 => Some(format!("{:.0}/min", per_second * 60.0)),
        _ if per_second > 0.0 => Some(format!("{:.1}/min", per_second * 60.0)),
        _ => None,
    }
}

/// A time that need not be exact: `4 s`, `3 min 20 s`, `3 h 9 min`, `2 days 3 h`.
#[must_use]
pub fn time_about(seconds: f64) -> String {
    let whole = seconds.round().max(0.0) as u64;
    let two = |large: u64, large_unit: &str, small: u64, small_unit: &str| match small {
        0 => format!("{large} {large_unit}"),
        _ => format!("{large} {large_unit} {small} {small_unit}"),
    };
    match whole {
        0..60 => format!("{whole} s"),
        60..600 => two(whole / 60, "min", whole % 60, "s"),
        600..3600 => format!("{} min", whole / 60),
        3600..86_400 => two(whole / 3600, "h", whole % 3600 / 60, "min"),
        86_400..172_800 => two(1, "day", whole % 86_400 / 3600, "h"),
        _ => two(whole / 86_400, "days", whole % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_told_in_cents_or_in_what_counts() {
        let told = [0.0, 2.0, 0.19, 1234.5, 0.0031, 0.000_000_5, 0.01, 1.999].map(dollars);
        assert_eq!(told, ["$0.00", "$2.00", "$0.19", "$1,234.50", "$0.0031", "$0.00000050", "$0.01", "$2.00"]);
        assert_eq!([7, 1200, 12_345, 3_123_000].map(about), ["~7", "~1.2 k", "~12 k", "~3.1 M"]);
    }

    #[test]
    fn counts_times_and_sizes_are_readable() {
        assert_eq!([0, 999, 1000, 1_234_567].map(thousands), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!((count(1, "row"), count(1200, "row")), ("1 row".into(), "1,200 rows".into()));
        assert_eq!([0.44, 59.0, 65.0, 7800.0].map(duration), ["0.4 s", "59.0 s", "1 min 05 s", "2 h 10 min"]);
        assert_eq!([7, 1400, 999_999, 2_000_000_000].map(bytes), ["7 B", "1.4 kB", "1.0 MB", "2.0 GB"]);
        let ages = [3, 180, 7200, 172_800].map(|seconds| age(1000, 1000 + seconds * 1000));
        assert_eq!(ages, ["3 s", "3 min", "2 h", "2 days"]);
        assert_eq!(age(5, 1), "0 s");
    }
}
