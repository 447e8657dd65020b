//! Durations as people write them: `30d`, `12h`, `90m`, `10s`, `1d12h`.

use std::time::Duration;

/// Reads a duration: whole numbers, each with its unit (`w`, `d`, `h`, `m`, `s`).
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is not a duration");
    let mut seconds: u64 = 0;
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let (number, tail) = rest.split_at(end);
        let mut letters = tail.chars();
        let unit: u64 = match letters.next() {
            Some('w') => 604_800,
            Some('d') => 86_400,
            Some('h') => 3_600,
            Some('m') => 60,
            Some('s') => 1,
            _ => return Err(refused()),
        };
        let number: u64 = number.parse().map_err(|_| refused())?;
        let part = number.checked_mul(unit).ok_or_else(|| format!("the duration `{text}` is too long"))?;
        seconds = seconds.checked_add(part).ok_or_else(|| format!("the duration `{text}` is too long"))?;
        rest = letters.as_str();
    }
    Ok(Duration::from_secs(seconds))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_with_units_add_up() {
        assert_eq!(parse_duration("30d"), Ok(Duration::from_hours(30 * 24)));
        assert_eq!(parse_duration("1d12h"), Ok(Duration::from_hours(36)));
        assert_eq!(parse_duration("90m"), Ok(Duration::from_mins(90)));
        assert_eq!(parse_duration(" 10s "), Ok(Duration::from_secs(10)));
    }

    #[test]
    fn anything_else_is_refused() {
        for text in
            ["", "30", "d", "3 d", "30days", "-1d", "1.5h", "99999999999999999999d", "9999999999999999999w", "3é"]
        {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }
}
