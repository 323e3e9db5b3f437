//! The values of a script: spans, counts, shares, node names.

use trimtab_core::ids::InstanceId;
use trimtab_core::reads::Capacity;
use trimtab_core::units::{NodeCount, Share, Span};

/// `key=value`, or a bare word with an empty value.
pub(super) fn key_value(word: &str) -> (&str, &str) {
    word.split_once('=').unwrap_or((word, ""))
}

/// `-1h30m`, `+45s`, `0s`.
pub(super) fn span(text: &str) -> Span {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mut sum, mut number) = (Span::ZERO, String::new());
    for letter in digits.chars() {
        if letter.is_ascii_digit() {
            number.push(letter);
            continue;
        }
        let amount: i64 = number.parse().unwrap_or_else(|_| panic!("`{text}` is no span"));
        sum += match letter {
            'd' => Span::hours(24 * amount),
            'h' => Span::hours(amount),
            'm' => Span::mins(amount),
            's' => Span::secs(amount),
            _ => panic!("`{text}` is no span"),
        };
        number.clear();
    }
    assert!(number.is_empty(), "`{text}` has a number without a unit");
    sum.times(sign)
}

/// A number.
pub(super) fn count(text: &str) -> NodeCount {
    NodeCount(text.parse().unwrap_or_else(|_| panic!("`{text}` is no number")))
}

/// `25%`.
pub(super) fn share(text: &str) -> Share {
    let number = text.strip_suffix('%').and_then(|number| number.parse().ok());
    number.and_then(Share::try_from_percent).unwrap_or_else(|| panic!("`{text}` is no share"))
}

/// `n3`, or `n1..n4` with both ends included.
pub(super) fn instances(text: &str) -> Vec<InstanceId> {
    let number = |node: &str| -> u128 {
        let digits = node.strip_prefix('n').and_then(|digits| digits.parse().ok());
        digits.unwrap_or_else(|| panic!("`{node}` is no node"))
    };
    let (first, last) = text.split_once("..").unwrap_or((text, text));
    (number(first)..=number(last)).map(InstanceId::from_number).collect()
}

/// A capacity type, spelled as in the configuration.
pub(super) fn capacity(text: &str) -> Capacity {
    match text {
        "on-demand" => Capacity::OnDemand,
        "spot" => Capacity::Spot,
        "training-plan" => Capacity::TrainingPlan,
        "reserved" => Capacity::Reserved,
        _ => panic!("`{text}` is no capacity"),
    }
}
