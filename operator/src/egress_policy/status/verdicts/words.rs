//! Pure: counts and lists in messages.

/// Most pods or addresses named in one message.
const NAMED_MAX: usize = 5;

/// The first few, and how many more.
pub(crate) fn name<'a>(texts: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<&str> = texts.collect();
    let mut text = all.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if all.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", all.len() - NAMED_MAX));
    }
    text
}

/// "1 pod serves", "2 pods serve": what pods do, in the plural without its verb's s.
pub(crate) fn pods(count: usize, they: &str) -> String {
    match count {
        1 => format!("1 pod {they}s"),
        _ => format!("{count} pods {they}"),
    }
}

pub(crate) fn addresses(count: usize) -> String {
    match count {
        1 => "1 address".to_owned(),
        _ => format!("{count} addresses"),
    }
}

/// Addresses that are promised.
pub(crate) fn promised(count: usize) -> String {
    match count {
        1 => "1 promised address".to_owned(),
        _ => format!("{count} promised addresses"),
    }
}
