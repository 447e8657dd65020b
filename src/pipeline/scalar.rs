//! Scalars by the core schema of YAML 1.2.

use saphyr_parser::Tag;
use serde_json::{Number, Value};

/// The value of a scalar with a tag of the core schema; `None` for other tags.
pub(super) fn resolve_tagged(tag: &Tag, text: &str) -> Option<Result<Value, String>> {
    let non_specific = tag.handle.is_empty() && tag.suffix == "!";
    if non_specific || (tag.is_yaml_core_schema() && tag.suffix == "str") {
        return Some(Ok(Value::String(text.to_owned())));
    }
    if !tag.is_yaml_core_schema() {
        return None;
    }
    let value = match resolve(text) {
        Ok(value) => value,
        Err(what) => return Some(Err(what)),
    };
    let value = match (tag.suffix.as_str(), value) {
        ("null", Value::Null) => Value::Null,
        ("bool", Value::Bool(is)) => Value::Bool(is),
        ("int", Value::Number(number)) if !number.is_f64() => Value::Number(number),
        ("float", Value::Number(number)) => {
            number.as_f64().and_then(Number::from_f64).map_or(Value::Null, Value::Number)
        }
        ("null" | "bool" | "int" | "float", _) => return Some(Err(format!("`{text}` is not a {}", tag.suffix))),
        _ => return None,
    };
    Some(Ok(value))
}

/// The value of a plain scalar by the core schema.
pub(super) fn resolve(text: &str) -> Result<Value, String> {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Ok(Value::Null),
        "true" | "True" | "TRUE" => return Ok(Value::Bool(true)),
        "false" | "False" | "FALSE" => return Ok(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" | ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" | "-.inf" | "-.Inf"
        | "-.INF" => {
            return Err(format!("`{text}` is not a number that can be used here"));
        }
        _ => {}
    }
    let too_large = || format!("the number {text} is too large");
    if let Some((digits, radix)) =
        text.strip_prefix("0x").map(|d| (d, 16)).or_else(|| text.strip_prefix("0o").map(|d| (d, 8)))
        && !digits.is_empty()
        && digits.chars().all(|c| c.is_digit(radix))
    {
        return u64::from_str_radix(digits, radix).map(Value::from).map_err(|_| too_large());
    }
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        let plain = text.strip_prefix('+').unwrap_or(text);
        let number = plain.parse::<u64>().map(Value::from).or_else(|_| plain.parse::<i64>().map(Value::from));
        return number.map_err(|_| too_large());
    }
    if is_float(unsigned) {
        let number = text.parse::<f64>().ok().and_then(Number::from_f64);
        return number.map(Value::Number).ok_or_else(too_large);
    }
    Ok(Value::String(text.to_owned()))
}

/// Whether an unsigned text is a float: digits with a point or an exponent.
fn is_float(text: &str) -> bool {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let exponent = exponent.is_none_or(|e| {
        let e = e.strip_prefix(['-', '+']).unwrap_or(e);
        !e.is_empty() && digits(e)
    });
    let some = !whole.is_empty() || !fraction.is_empty();
    some && digits(whole) && digits(fraction) && exponent
}
