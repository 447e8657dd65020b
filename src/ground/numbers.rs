//! Numbers for people.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_told_in_cents_or_in_what_counts() {
        let told = [0.0, 2.0, 0.19, 1234.5, 0.0031, 0.000_000_5, 0.01, 1.999].map(dollars);
        assert_eq!(told, ["$0.00", "$2.00", "$0.19", "$1,234.50", "$0.0031", "$0.00000050", "$0.01", "$2.00"]);
        assert_eq!([7, 1200, 12_345, 3_123_000].map(about), ["~7", "~1.2 k", "~12 k", "~3.1 M"]);
    }
}
