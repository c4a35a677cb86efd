//! Finds the known word that is nearest to an unknown one.

/// Returns the nearest known word as the end of a sentence; empty if none is near.
pub(super) fn nearest(word: &str, words: &[&str]) -> String {
    let word = plain(word);
    let distances = words.iter().map(|known| (distance(&word, &plain(known)), known));
    let nearest = distances.min_by_key(|(distance, _)| *distance);
    match nearest {
        Some((distance, known)) if distance <= word.len().max(known.len()).min(12) / 4 => {
            format!("; did you mean {known}?")
        }
        _ => String::new(),
    }
}

/// Returns a word in lower case, without separators.
pub(super) fn plain(word: &str) -> String {
    let letters = word.chars().take(64).filter(|c| !matches!(c, '_' | '-' | '.'));
    letters.map(|c| c.to_ascii_lowercase()).collect()
}

/// Returns the edit distance: letters to change, add or remove.
pub(super) fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
