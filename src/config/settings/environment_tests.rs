//! Settings from test environments and from mounted files.

use super::*;
use std::path::PathBuf;

fn from(prefix: &str, variables: &[(&str, &str)]) -> Result<Settings, String> {
    let found = Settings::from_lookup(prefix, |name| find(name, variables));
    found.map_err(|error| error.to_string())
}

fn find(name: &str, variables: &[(&str, &str)]) -> Option<OsString> {
    let found = variables.iter().find(|(known, _)| *known == name);
    found.map(|(_, value)| (*value).into())
}

/// A file of this test's own, removed when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(name: &str, content: &[u8]) -> Mounted {
        let path = std::env::temp_dir().join(format!("poolwarden-{}-{name}", std::process::id()));
        fs::write(&path, content).expect("a file");
        Mounted(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("text")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn a_separate_variable_overrides_the_url() {
    let settings = from(
        "ORDERS",
        &[
            ("ORDERS_URL", "postgres://u:p@h/d?pool_max_size=8&pool_min_idle=1"),
            ("ORDERS_USER", "x"),
            ("ORDERS_MAX_SIZE", "9"),
            ("ORDERS_CONNECT_TIMEOUT", "5s"),
            ("ORDERS_POOL_NAME", "orders"),
            ("ORDERS_PASSWORD", ""),
            ("UNRELATED_MAX_SIZE", "1"),
        ],
    )
    .expect("settings");
    assert_eq!((settings.text("user"), settings.text("password")), (Some("x"), Some("p")));
    let options = settings.options();
    assert_eq!((options.max_size, options.min_idle), (Some(9), Some(1)));
    assert_eq!(options.connect_timeout, Some(std::time::Duration::from_secs(5)));
    assert_eq!(options.name.as_deref(), Some("orders"));
}

#[test]
fn every_key_and_every_option_has_a_variable() {
    let all: Vec<String> = variables().into_iter().map(|(variable, _)| variable).collect();
    for name in keys::names().filter(|name| *name != "ssl") {
        assert!(all.contains(&name.to_uppercase()), "{name}");
    }
    for name in PoolOptions::NAMES.iter().filter(|name| **name != "name") {
        assert!(all.contains(&name.to_uppercase()), "{name}");
    }
    let settings = from("DB", &[("DB_HOST", "h"), ("DB_NAME", "d"), ("DB_PORT", "7")]);
    let settings = settings.expect("conventional names");
    assert_eq!((settings.text("dbname"), settings.text("port")), (Some("d"), Some("7")));
}

#[test]
fn a_secret_can_be_read_from_a_mounted_file() {
    let password = Mounted::new("password", b"hushhush \r\n");
    let url = Mounted::new("url", b"postgres://h/d\n");
    let variables = [("A_PASSWORD_FILE", password.path()), ("A_URL_FILE", url.path())];
    let settings = from("A", &variables).expect("settings");
    assert_eq!(settings.text("password"), Some("hushhush "));
    assert_eq!(settings.text("host"), Some("h"));
}

#[test]
fn errors_name_the_variable_and_never_show_its_value() {
    let binary = Mounted::new("binary", b"hushhush\xff");
    let gone = "/nowhere/hush/file";
    for (variables, wanted) in [
        (vec![("A_PORT", "tcp://hushhush:5432")], "A_PORT: expected a number from 1 to 65535"),
        (vec![("A_MAX_SIZE", "hushhush")], "A_MAX_SIZE: expected a whole number"),
        (vec![("A_URL", "oracle://hushhush")], "A_URL: connection URL: unknown scheme"),
        (vec![("A_PASSWORD_FILE", gone)], "A_PASSWORD_FILE: cannot read the file"),
        (vec![("A_PASSWORD_FILE", binary.path())], "A_PASSWORD_FILE: cannot read the file"),
        (
            vec![("A_PASSWORD", "hushhush"), ("A_PASSWORD_FILE", gone)],
            "A_PASSWORD and A_PASSWORD_FILE are both set; set only one",
        ),
        (vec![("A_DBNAME", "hush"), ("A_NAME", "hush")], "A_NAME: set twice"),
    ] {
        let text = from("A", &variables).expect_err("refused");
        assert!(text.starts_with(wanted), "{text}");
        assert!(!text.contains("hush"), "{text}");
    }
}

#[test]
fn libpqs_variables_apply_where_the_url_does_not_set_a_key() {
    let variables = [
        ("PGHOST", "other"),
        ("PGPORT", "5433"),
        ("PGUSER", "pg"),
        ("PGPASSWORD", "hushhush"),
        ("PGSSLMODE", "require"),
        ("PGCONNECT_TIMEOUT", "7"),
        ("PGAPPNAME", "app"),
        ("PGTARGETSESSIONATTRS", "read-write"),
        ("PGDATABASE", ""),
    ];
    let libpq = Settings::from_pg_lookup(|name| find(name, &variables)).expect("settings");
    let settings: Settings = "postgres://h/d".parse().expect("a URL");
    let settings = settings.or(libpq);
    assert_eq!((settings.text("host"), settings.text("port")), (Some("h"), Some("5433")));
    assert_eq!((settings.text("user"), settings.text("dbname")), (Some("pg"), Some("d")));
    assert_eq!(settings.text("sslmode"), Some("require"));
    assert_eq!(settings.seconds("connect_timeout").map(|t| t.as_secs()), Some(7));
    let wrong = [("PGPORT", "hushhush")];
    let error = Settings::from_pg_lookup(|name| find(name, &wrong)).expect_err("no number");
    assert_eq!(error.to_string(), "PGPORT: expected a number from 1 to 65535");
}

#[test]
fn the_password_file_is_the_named_one_or_the_one_in_the_home_directory() {
    let home = std::env::temp_dir().join(format!("poolwarden-home-{}", std::process::id()));
    fs::create_dir_all(&home).expect("a folder");
    let read = |variables: &[(&str, &str)]| {
        Settings::from_pg_lookup(|name| find(name, variables)).expect("settings")
    };
    let at_home = ("HOME", home.to_str().expect("text"));
    assert_eq!(read(&[at_home]).text("passfile"), None, "there is none");
    fs::write(home.join(".pgpass"), "*:*:*:*:hushhush").expect("a file");
    let file = home.join(".pgpass");
    assert_eq!(read(&[at_home]).text("passfile"), file.to_str());
    assert_eq!(read(&[at_home, ("PGPASSFILE", "/p")]).text("passfile"), Some("/p"));
    fs::remove_dir_all(&home).expect("it is ours");
}

#[test]
fn unsupported_variables_are_rejected_and_not_ignored() {
    for (variable, key) in LIBPQ_REFUSED {
        assert!(matches!(keys::find(key, Style::Prefixed), keys::Found::Refused(_)), "{key}");
        let variables = [(*variable, "hushhush")];
        let error = Settings::from_pg_lookup(|name| find(name, &variables)).expect_err("refused");
        let text = error.to_string();
        assert!(text.starts_with(&format!("{variable}: ")) && !text.contains("hush"), "{text}");
    }
    assert!(Settings::from_pg_lookup(|name| find(name, &[("PGSERVICE", "")])).is_ok());
    for (variable, value, other) in
        [("PGGSSENCMODE", "prefer", "require"), ("PGSSLCERTMODE", "allow", "require")]
    {
        let read = |value| Settings::from_pg_lookup(|name| find(name, &[(variable, value)]));
        assert!(read(value).is_ok(), "{variable}");
        let text = read(other).expect_err("it cannot be done").to_string();
        assert!(text.starts_with(&format!("{variable}: must be one of")), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf_8_is_rejected() {
    use std::os::unix::ffi::OsStringExt;
    let bytes = OsString::from_vec(b"hush\xff".to_vec());
    let ask = |name: &str| (name == "A_PASSWORD").then(|| bytes.clone());
    let error = Settings::from_lookup("A", ask).expect_err("not UTF-8");
    assert_eq!(error.to_string(), "A_PASSWORD: invalid UTF-8");
}
