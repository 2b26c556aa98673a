//! Which known key a mistyped one most likely means.

/// Longer names are no typing mistakes, and not worth the time.
const NAME_LEN_MAX: usize = 64;

/// The known key that a mistyped one most likely means: one letter and a quarter of them may differ.
pub(super) fn nearest(name: &str, known: &[&'static str]) -> Option<&'static str> {
    if name.len() > NAME_LEN_MAX {
        return None;
    }
    let distances = known
        .iter()
        .map(|known| (edit_distance(name, known), *known));
    let (distance, nearest) = distances.min()?;
    (distance <= 1 + name.len() / 4).then_some(nearest)
}

/// The Levenshtein distance in bytes.
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, byte_a) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, byte_b) in row.iter_mut().skip(1).zip(b.bytes()) {
            let substituted = diagonal + usize::from(byte_a != byte_b);
            diagonal = *cell;
            left = substituted.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_mistakes_are_recognised() {
        let known = ["listen", "cert_file", "key_file", "drain_timeout_s"];
        assert_eq!(nearest("lisen", &known), Some("listen"));
        assert_eq!(nearest("drain_timeout", &known), Some("drain_timeout_s"));
        assert_eq!(nearest("certfile", &known), Some("cert_file"));
        assert_eq!(nearest("codec", &known), None);
        assert_eq!(nearest("", &known), None);
        assert_eq!(nearest(&"x".repeat(1000), &known), None);
        assert_eq!(nearest("x", &[]), None);
    }

    #[test]
    fn the_distance_counts_edits() {
        for (a, b, distance) in [
            ("", "", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edit_distance(a, b), distance, "{a} {b}");
        }
    }
}
