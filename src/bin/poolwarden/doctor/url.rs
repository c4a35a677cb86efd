//! A URL that can be shown.

/// Returns the URL with another database; `None` if it is no URL.
pub fn with_database(url: &str, database: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let (before, options) = rest.split_at(rest.find('?').unwrap_or(rest.len()));
    let authority = before.split('/').next().unwrap_or_default();
    Some(format!("{scheme}://{authority}/{database}{options}"))
}

/// Returns the port of the URL; `None` if it names none.
pub fn port(url: &str) -> Option<u16> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?']).next()?;
    authority.rsplit_once(':')?.1.parse().ok()
}

/// Returns the URL without its password, and without any part that may belong to it.
pub fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return "keys and values".into();
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let (login, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let port = host.rsplit_once(':').map_or("", |(_, port)| port.trim_end_matches(']'));
    if path.contains('@') || !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return format!("{scheme}://***");
    }
    let path = path.split(['?', '#']).next().unwrap_or_default();
    match login.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{host}{path}"),
        None if login.is_empty() => format!("{scheme}://{host}{path}"),
        None => format!("{scheme}://{login}@{host}{path}"),
    }
}
