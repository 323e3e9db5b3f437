//! Splits sorted lists into pages, and reads and writes their tokens.
//!
//! A token contains the last entry of its page and is bound to its query. The list may
//! change between two pages, as with the service; an entry that stays in the list is
//! returned exactly once.

use serde_json::{Map, Value};
use trimtab_core::digest::fnv1a;

use super::error::ApiError;

/// Page size if a request has no MaxResults. Older list operations of the service document
/// this value; the model does not define one for these operations.
const DEFAULT_PAGE: usize = 10;
/// Members of a request that may differ between pages of the same list.
const NOT_OF_THE_QUERY: [&str; 2] = ["NextToken", "MaxResults"];

/// Position of an entry in its list: the sort key, the number of the entry, and a counter
/// for entries that are otherwise equal.
pub(super) type Key = (String, u64, u32);

/// One page.
#[derive(Debug)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    pub(super) next: Option<String>,
}

/// Sorts `items` and returns the page that the request selects. Duplicate entries are
/// returned as duplicates.
///
/// # Errors
/// If the token was not issued for this list.
pub(super) fn page<T>(
    operation: &str,
    request: &Map<String, Value>,
    items: Vec<(String, u64, T)>,
    descending: bool,
) -> Result<Page<T>, ApiError> {
    let mut keyed: Vec<(Key, T)> = vec![];
    for (sort, number, item) in items {
        keyed.push(((sort, number, 0), item));
    }
    keyed.sort_by(|(one, _), (other, _)| one.cmp(other));
    for n in 1..keyed.len() {
        let (before, rest) = keyed.split_at_mut(n);
        let ((before, _), (own, _)) = (&before[n - 1], &mut rest[0]);
        if (&before.0, before.1) == (&own.0, own.1) {
            own.2 = before.2 + 1;
        }
    }
    if descending {
        keyed.reverse();
    }
    let query = digest(operation, request);
    let size = request.get("MaxResults").and_then(Value::as_u64);
    let size = size.and_then(|size| usize::try_from(size).ok()).unwrap_or(DEFAULT_PAGE);
    let after = match request.get("NextToken").and_then(Value::as_str) {
        None | Some("") => None,
        Some(token) => Some(read(token, query)?),
    };
    let is_next = |key: &Key| match &after {
        None => true,
        Some(after) if descending => key < after,
        Some(after) => key > after,
    };
    let mut left = keyed.into_iter().filter(|(key, _)| is_next(key));
    let taken: Vec<(Key, T)> = left.by_ref().take(size).collect();
    let more = left.next().is_some();
    let last = taken.last().map(|(key, _)| write(key, query)).filter(|_| more);
    Ok(Page { items: taken.into_iter().map(|(_, item)| item).collect(), next: last })
}

fn digest(operation: &str, request: &Map<String, Value>) -> u64 {
    let mut query = operation.to_owned();
    for (name, value) in request {
        if !NOT_OF_THE_QUERY.contains(&name.as_str()) {
            query.push_str(&format!("\n{name}={value}"));
        }
    }
    fnv1a(query.as_bytes())
}

fn write((sort, number, copy): &Key, query: u64) -> String {
    let plain = format!("{query:016x}/{number}/{copy}/{sort}");
    let sum = fnv1a(plain.as_bytes());
    let mut token = format!("{sum:016x}");
    for byte in plain.bytes() {
        token.push_str(&format!("{:02x}", byte ^ (sum as u8)));
    }
    token
}

fn read(token: &str, query: u64) -> Result<Key, ApiError> {
    let bad = || ApiError::validation("The provided NextToken is invalid");
    if !token.is_ascii() || token.len() < 16 || !token.len().is_multiple_of(2) {
        return Err(bad());
    }
    let (sum, rest) = token.split_at(16);
    let sum = u64::from_str_radix(sum, 16).map_err(|_| bad())?;
    let byte = |at: usize| u8::from_str_radix(&rest[at..at + 2], 16).map_err(|_| bad());
    let bytes: Vec<u8> = (0..rest.len())
        .step_by(2)
        .map(|at| Ok(byte(at)? ^ (sum as u8)))
        .collect::<Result<_, ApiError>>()?;
    let plain = String::from_utf8(bytes).map_err(|_| bad())?;
    let mut parts = plain.splitn(4, '/');
    let mut part = || parts.next().ok_or_else(bad);
    let (of, number, copy, sort) = (part()?, part()?, part()?, part()?);
    let fits = fnv1a(plain.as_bytes()) == sum && *of == format!("{query:016x}");
    let number = number.parse().map_err(|_| bad())?;
    let copy = copy.parse().map_err(|_| bad())?;
    if fits { Ok((sort.to_owned(), number, copy)) } else { Err(bad()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(size: u64, token: Option<String>) -> Map<String, Value> {
        let mut request = Map::new();
        request.insert("MaxResults".to_owned(), size.into());
        request.extend(token.map(|token| ("NextToken".to_owned(), token.into())));
        request
    }

    fn walk(items: &[(String, u64, char)], size: u64, descending: bool) -> String {
        let (mut all, mut token) = (String::new(), None);
        loop {
            let page = page("List", &request(size, token), items.to_vec(), descending);
            let page = page.expect("a page");
            all.extend(page.items);
            match page.next {
                Some(next) => token = Some(next),
                None => return all,
            }
        }
    }

    #[test]
    fn pages_of_any_size_give_every_entry_once_and_twins_twice() {
        let items: Vec<(String, u64, char)> =
            [("b", 2, 'c'), ("a", 1, 'a'), ("b", 1, 'b'), ("b", 2, 'c'), ("c", 0, 'd')]
                .map(|(sort, number, item)| (sort.to_owned(), number, item))
                .to_vec();
        for size in 1..=6 {
            assert_eq!(walk(&items, size, false), "abccd", "{size}");
            assert_eq!(walk(&items, size, true), "dccba", "{size}");
        }
        assert_eq!(walk(&[], 3, false), "");
    }

    #[test]
    fn a_token_is_good_for_its_own_list_only() {
        let items = vec![("a".to_owned(), 1, 'a'), ("b".to_owned(), 2, 'b')];
        let first = page("List", &request(1, None), items.clone(), false).expect("a page");
        let token = first.next.expect("there is more");
        assert!(page("List", &request(5, Some(token.clone())), items.clone(), false).is_ok());
        assert!(page("Other", &request(1, Some(token.clone())), items.clone(), false).is_err());
        let mut filtered = request(1, Some(token.clone()));
        filtered.insert("NameContains".to_owned(), "x".into());
        assert!(page("List", &filtered, items.clone(), false).is_err());
        let mut broken = token.into_bytes();
        for at in 0..broken.len() {
            let was = std::mem::replace(&mut broken[at], b'g');
            let text = String::from_utf8(broken.clone()).expect("ASCII");
            assert!(page("List", &request(1, Some(text)), items.clone(), false).is_err(), "{at}");
            broken[at] = was;
        }
        for odd in ["x", "é", "0123456789abcdef", "0123456789abcdefz"] {
            assert!(page("List", &request(1, Some(odd.into())), items.clone(), false).is_err());
        }
    }
}
