//! Labels: how wide they are, about, and how to keep them apart.

/// The width of a text at a font size, about: fonts differ, and the drawing does not know them.
pub(super) fn width(text: &str, size: f64) -> f64 {
    let of = |c: char| match c {
        'i' | 'l' | 'j' | 't' | 'f' | 'r' | '.' | ',' | ':' | ';' | '|' | '!' | ' ' | '(' | ')' | '\'' => 0.38,
        'm' | 'w' | 'M' | 'W' | '@' | '%' => 0.95,
        '\u{1100}'.. => 1.0,
        c if c.is_uppercase() => 0.7,
        _ => 0.61,
    };
    text.chars().map(of).sum::<f64>() * size
}

/// The text, cut with `…` where it is wider than `most`.
pub(super) fn shortened(text: &str, size: f64, most: f64) -> String {
    if width(text, size) <= most {
        return text.to_owned();
    }
    let mut short = String::new();
    for c in text.chars() {
        short.push(c);
        if width(&short, size) > most - size {
            break;
        }
    }
    format!("{}…", short.trim_end())
}

/// The places nearest to `wanted`, in the same order, at least `gap` apart and
/// between `top` and `bottom` if there is room.
pub(super) fn apart(wanted: &[f64], gap: f64, top: f64, bottom: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..wanted.len()).collect();
    order.sort_by(|a, b| wanted[*a].total_cmp(&wanted[*b]));
    let mut places = wanted.to_vec();
    let mut least = top;
    for at in &order {
        places[*at] = places[*at].max(least);
        least = places[*at] + gap;
    }
    let mut most = bottom;
    for at in order.iter().rev() {
        places[*at] = places[*at].min(most);
        most = places[*at] - gap;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_do_not_lie_on_each_other() {
        assert_eq!(apart(&[10.0, 50.0, 11.0], 5.0, 0.0, 100.0), [10.0, 50.0, 15.0]);
        assert_eq!(apart(&[99.0, 99.0, 99.0], 5.0, 0.0, 100.0), [90.0, 95.0, 100.0]);
        assert_eq!(apart(&[], 5.0, 0.0, 100.0), Vec::<f64>::new());
    }

    #[test]
    fn long_names_are_cut() {
        assert_eq!(shortened("V2.1", 12.0, 100.0), "V2.1");
        let short = shortened("a name that has no end and goes on and on", 12.0, 100.0);
        assert!(short.ends_with('…') && short.chars().count() < 25, "{short}");
    }
}
