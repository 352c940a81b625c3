//! Names: which are allowed, and which was probably meant.

/// Words that begin a statement or an operator and cannot name a value.
pub(crate) const KEYWORDS: [&str; 18] = [
    "network", "program", "axis", "width", "data", "table", "param", "matrix", "vector", "const", "moment", "scalar",
    "output", "for", "in", "sum", "stack", "pi",
];

/// Whether `text` is a plain identifier and no keyword.
pub(crate) fn is_identifier(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_')
        && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
        && !KEYWORDS.contains(&text)
}

/// Whether `text` can name a value: an identifier with `@integer` parts.
pub(crate) fn is_value_name(text: &str) -> bool {
    let mut parts = text.split('@');
    parts.next().is_some_and(is_identifier)
        && parts.all(|part| part.parse::<u32>().is_ok_and(|v| v.to_string() == part))
}

/// Whether `text` can name an index variable: an identifier with primes.
pub(crate) fn is_index_name(text: &str) -> bool {
    is_identifier(text.trim_end_matches('\''))
}

/// An index name without its primes.
pub(crate) fn stem(name: &str) -> &str {
    name.trim_end_matches('\'')
}

/// The candidate closest to `given`, if it is close enough to be a slip of the keyboard.
pub(crate) fn closest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    // A name of one letter is only ever off by its case.
    let length = given.chars().count();
    let allowed = if length < 2 { 0 } else { 1.max(length / 3) };
    candidates
        .into_iter()
        .filter(|&c| c != given)
        .map(|c| (distance(given, c, allowed), c))
        .filter(|&(d, _)| d <= allowed)
        .min()
        .map(|(_, c)| c)
}

/// Edit distance with transpositions of neighbours (optimal string alignment); anything above `limit` may be returned
/// as any number above `limit`.
fn distance(a: &str, b: &str, limit: usize) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let b: Vec<char> = b.chars().flat_map(char::to_lowercase).collect();
    if limit < a.len().abs_diff(b.len()) || 64 < a.len() {
        return limit + 1;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = change.min(last[j] + 1).min(row[j - 1] + 1);
            if 1 < i && 1 < j && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(before[j - 2] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        assert_eq!(closest("tahn", ["relu", "tanh", "sin"]), Some("tanh"));
        assert_eq!(closest("Relu", ["relu", "tanh"]), Some("relu"));
        assert_eq!(closest("h", ["i", "x"]), None);
        assert_eq!(closest("w", ["v", "W"]), Some("W"));
    }

    #[test]
    fn value_names_have_integer_parts() {
        assert!(is_value_name("h@1@20") && is_value_name("_x"));
        assert!(!is_value_name("h@") && !is_value_name("h@01") && !is_value_name("sum") && !is_value_name("dh dt"));
    }
}
