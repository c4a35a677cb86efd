//! Tests the parser with libpq's documented examples.

use super::*;
use std::time::Duration;

/// Returns the parsed settings, as `key=value` in the order of the keys.
fn parsed(text: &str) -> String {
    let settings = Settings::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let values = settings.values.iter().map(|(key, value)| format!("{key}={}", value.expose()));
    let options = settings.options.to_texts();
    let options = options.iter().map(|(name, value)| format!("pool_{name}={value}"));
    values.chain(options).collect::<Vec<_>>().join(" ")
}

fn refusal(text: &str) -> String {
    match Settings::parse(text) {
        Ok(settings) => panic!("{text}: {settings:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn libpqs_documented_urls_mean_what_they_mean_there() {
    // PostgreSQL documentation, "Connection URIs".
    for (url, wanted) in [
        ("postgresql://", ""),
        ("postgresql://localhost", "host=localhost"),
        ("postgresql://localhost:5433", "host=localhost port=5433"),
        ("postgresql://localhost/mydb", "dbname=mydb host=localhost"),
        ("postgresql://user@localhost", "host=localhost user=user"),
        ("postgresql://user:secret@localhost", "host=localhost password=secret user=user"),
        (
            "postgresql://other@localhost/otherdb?connect_timeout=10&application_name=myapp",
            "application_name=myapp connect_timeout=10 dbname=otherdb host=localhost user=other",
        ),
        (
            "postgresql://host1:123,host2:456/somedb?target_session_attrs=any&application_name=app",
            "application_name=app dbname=somedb host=host1,host2 port=123,456 \
             target_session_attrs=any",
        ),
        (
            "postgresql://user@localhost:5433/mydb?options=-c%20synchronous_commit%3Doff",
            "dbname=mydb host=localhost options=-c synchronous_commit=off port=5433 user=user",
        ),
        ("postgresql:///mydb?host=localhost&port=5433", "dbname=mydb host=localhost port=5433"),
        ("postgresql://[2001:db8::1234]/database", "dbname=database host=2001:db8::1234"),
        ("postgresql:///dbname?host=/var/lib/pg", "dbname=dbname host=/var/lib/pg"),
        ("postgresql://%2Fvar%2Flib%2Fpg/dbname", "dbname=dbname host=/var/lib/pg"),
    ] {
        assert_eq!(parsed(url), wanted, "{url}");
    }
}

#[test]
fn the_urls_of_libpqs_own_tests_mean_what_they_mean_there() {
    // PostgreSQL sources, src/interfaces/libpq/t/001_uri.pl.
    for (url, wanted) in [
        (
            "postgresql://uri-user:secret@host:12345/db",
            "dbname=db host=host password=secret port=12345 user=uri-user",
        ),
        ("postgresql://uri-user@host/", "host=host user=uri-user"),
        ("postgresql://host?user=uri-user", "host=host user=uri-user"),
        ("postgresql://host:12345/?user=uri-user", "host=host port=12345 user=uri-user"),
        ("postgresql://host/db?u%73er=someotheruser", "dbname=db host=host user=someotheruser"),
        ("postgresql://[::1]:12345/db", "dbname=db host=::1 port=12345"),
        ("postgresql://[2001:db8::1234]/", "host=2001:db8::1234"),
        ("postgresql://?hostaddr=127.0.0.1", "hostaddr=127.0.0.1"),
        ("postgres://?hostaddr=::1", "hostaddr=::1"),
        ("postgres://host:/", "host=host"),
        ("postgres://:12345/", "port=12345"),
        ("postgres://@host", "host=host"),
        ("postgres://:secret@host", "host=host password=secret"),
        ("postgres://otheruser@?host=%2Ftmp", "host=/tmp user=otheruser"),
        ("postgres://%2Fvar%2Flib:5433/db", "dbname=db host=/var/lib port=5433"),
        ("postgresql://host?sslmode=verify-ca", "host=host sslmode=verify-ca"),
    ] {
        assert_eq!(parsed(url), wanted, "{url}");
    }
    for (url, wanted) in [
        ("postgresql://host/db?u%7aer=x&port=12345", "unknown key uzer; did you mean user?"),
        ("postgresql://host?uzer=", "unknown key uzer"),
        ("postgre://", "unknown scheme (expected postgres://"),
        ("jdbc:postgresql://h/d?user=u&password=hushhush", "unknown scheme (expected postgres://"),
        ("postgres://[::1", "host: missing ']'"),
        ("postgres://[]", "host: empty brackets"),
        ("postgres://[::1]z", "host: only :port may follow ']'"),
        ("postgresql://%", "host: '%' must be followed by two hexadecimal digits"),
        ("postgres://host?user", "parameter 1 has no '='"),
        ("postgres://host?zzz=1", "unknown key zzz"),
        ("postgresql://a%00b", "host: contains a NUL byte"),
        ("postgresql://%zz", "host: '%' must be"),
        ("postgresql://%1", "host: '%' must be"),
    ] {
        let found = refusal(url);
        assert!(found.contains(wanted), "{url}: {found}");
    }
}

#[test]
fn the_urls_of_mysql_and_mariadb_mean_the_same() {
    for (url, wanted) in [
        (
            "mysql://app:secret@db:3307/orders",
            "dbname=orders host=db password=secret port=3307 user=app",
        ),
        ("MARIADB://db1,db2:3307/orders", "dbname=orders host=db1,db2 port=,3307"),
        (
            "mysql://app@localhost/x?socket=%2Frun%2Fmysqld.sock&prefer_socket=false",
            "dbname=x host=localhost prefer_socket=false socket=/run/mysqld.sock user=app",
        ),
        ("mysql://h/?ssl-mode=VERIFY_IDENTITY", "host=h sslmode=verify-full"),
        ("mysql://h?ssl_mode=required&ssl-ca=/ca", "host=h sslmode=require sslrootcert=/ca"),
        ("mysql://h?ssl=true", "host=h sslmode=require"),
        ("mysql://h?compress=fast&stmt_cache_size=9", "compress=fast host=h stmt_cache_size=9"),
    ] {
        assert_eq!(parsed(url), wanted, "{url}");
    }
}

#[test]
fn sqlite_has_a_path_and_options() {
    for (url, wanted) in [
        ("sqlite:a%20b.db", "path=a b.db"),
        ("sqlite:///var/x.db?pool_max_size=2", "path=/var/x.db pool_max_size=2"),
        ("sqlite::memory:", "path=:memory:"),
        ("sqlite::memory:?pool_name=m", "path=:memory: pool_name=m"),
        ("sqlite://rel.db?mode=ro", "mode=ro path=rel.db"),
    ] {
        assert_eq!(parsed(url), wanted, "{url}");
    }
    assert!(refusal("sqlite:").contains("missing file name"));
}

#[test]
fn options_can_be_set_in_every_format() {
    let all = "pool_max_size=8 pool_max_lifetime=300s pool_validation=always-ping";
    let list = "host=h pool_max_size=8 pool_max_lifetime=5m pool_validation=always-ping";
    assert_eq!(parsed(list), format!("host=h {all}"));
    let url = "mysql://h?pool_max_size=8&pool_max_lifetime=5m&pool_validation=always-ping";
    assert_eq!(parsed(url), format!("host=h {all}"));
}

#[test]
fn an_error_names_the_key_and_never_shows_the_value() {
    for (text, wanted) in [
        ("postgres://h:hushhush/d", "connection URL: port: expected a number from 1 to 65535"),
        ("postgres://h:0/d", "connection URL: port: expected a number from 1 to 65535"),
        ("postgres://a:1,b:hushhush/d", "connection URL: port: entry 2: expected a number"),
        ("postgres://a,,b", "connection URL: host: entry 2: empty"),
        ("postgres://::1/d", "host: more than one ':' (write an IPv6 address in brackets)"),
        ("postgres://u:hush%zzhush@h", "connection URL: password: '%' must be"),
        ("postgres://u:hush%ffhush@h", "connection URL: password: percent-encoded bytes are not"),
        (
            "postgres://h?sslmode=hushhush",
            "sslmode: must be one of disable, prefer, require, verify-ca",
        ),
        ("postgres://h?sslmode=requre", "verify-full; did you mean require?"),
        ("postgres://h?sslmode=allow", "sslmode: allow is not supported"),
        ("postgres://h?pool_max_size=hushhush", "pool_max_size: expected a whole number"),
        ("postgres://h?pool_max_lifetime=hushhush", "pool_max_lifetime: expected a time such as"),
        ("postgres://h?pool_max_size=8&pool_max_size=9", "pool_max_size: set twice"),
        ("postgres://u:hushhush@h?password=hushhush", "password: set twice"),
        ("postgres://h?sslmode=require&ssl=true", "ssl: set twice"),
        ("postgres://h?user=", "user: empty value; omit the key instead"),
        ("host=h password=''", "connection string: password: empty value; omit the key instead"),
        ("host=h pasword=hushhush", "unknown key; did you mean password?"),
        ("mysql://h?pool_min=1", "unknown key pool_min; did you mean pool_min_idle?"),
        (
            "mysql://h?read_timeout=5",
            "read_timeout: not supported: after a timeout the mysql driver returns",
        ),
        ("mysql://h?danger_accept_invalid_certs=true", "not supported: use sslmode"),
        ("postgres://h?sslcrl=/x", "sslcrl: revocation lists are not supported"),
        (
            "host=h:5432",
            "host: contains a colon but is not an IPv6 address; set the port by the key port",
        ),
        ("host=h connect_timeout=soon", "connect_timeout: expected a whole number of seconds"),
        ("oracle://u:hushhush@h/d", "connection URL: unknown scheme (expected postgres://"),
        ("postgres:/h", "connection string: word 1 has no '='"),
    ] {
        let found = refusal(text);
        assert!(found.contains(wanted), "{text}: {found}");
        assert!(!found.contains("hush"), "{text}: {found}");
    }
}

/// An unescaped password is parsed as other parts of the URL: none of them is shown.
#[test]
fn an_unescaped_password_is_never_shown() {
    for password in ["a@hushhush", "hushhush@a", "a:hushhush", "a#hushhush"] {
        let url = format!("postgres://u:{password}@h/d");
        let settings = Settings::parse(&url).expect("it is unambiguous");
        assert_eq!(settings.text("password"), Some(password));
        assert!(!format!("{settings:?}").contains("hush"));
    }
    for text in [
        "postgres://u:a/hushhush@h/d",
        "postgres://u:a?hushhush@h/d",
        "postgres://u:a?hushhush=1@h/d",
        "postgres://u:?hushhush=1&x=@h/d",
        "postgres://u:a?x&hushhush=1@h/d",
        "postgres://u:a%hushhush@h/d",
        "postgres://u:1/hushhush@h/d",
        "postgres://u@h/d?password=a&hushhush=1",
        "host=h password=a hushhush",
        "host=h password=a hushhush=1",
        "host=h password='a'hushhush=1'",
        "host=h password=a' hushhush=1'",
        "host=h password='hushhush",
        "host=h sslpassword=a hushhush=1",
        // The key of the password, in the value before it.
        "postgres://h/d?user=upassword=&hushhush=1",
        "postgres://h/d?user=upasswor&hushhush=1",
        "host=h user=upassword= x=1 hushhush=1",
        "host=h user='u password '   hushhush=1",
        "host=h user='u p 'hushhush=1",
    ] {
        let found = refusal(text);
        assert!(!found.contains("hush"), "{text}: {found}");
    }
}

#[test]
fn or_fills_unset_keys_and_set_replaces_a_value() {
    let url: Settings = "postgres://u@h/d?pool_max_size=8".parse().expect("a URL");
    let other = Settings::parse("user=x password=p pool_max_size=9 pool_min_idle=1");
    let both = url.or(other.expect("a connection string"));
    assert_eq!((both.text("user"), both.text("password")), (Some("u"), Some("p")));
    assert_eq!((both.options.max_size, both.options.min_idle), (Some(8), Some(1)));
    let mut set = both;
    set.set("user", "y").expect("a key");
    set.set("max_size", "3").expect("an option");
    assert_eq!((set.text("user"), set.options.max_size), (Some("y"), Some(3)));
    let error = set.set("pool_max_size", "3").expect_err("a URL's word");
    assert_eq!(error.to_string(), "unknown key pool_max_size; did you mean max_size?");
}

#[test]
fn libpqs_connect_timeout_applies_to_each_host() {
    let all = |url: &str, hosts| {
        let settings: Settings = url.parse().expect("a URL");
        settings.all_options(hosts).expect("in range").connect_timeout
    };
    let seconds = |count| Some(Duration::from_secs(count));
    assert_eq!(all("postgres://a,b?connect_timeout=4", 2), seconds(8));
    assert_eq!(all("postgres://a?connect_timeout=4&pool_connect_timeout=3s", 1), seconds(3));
    assert_eq!(all("postgres://a?connect_timeout=0", 1), None);
    assert_eq!(all("postgres://a?connect_timeout=-1", 1), None);
}

#[cfg(any(feature = "mysql", feature = "postgres"))]
mod servers {
    use super::*;
    use crate::config::tls::{ChannelBinding, ClientIdentity, SslMode, SslNegotiation, Tls};

    fn tls(list: &str) -> Result<Tls, String> {
        Settings::parse(list).expect("a list").tls().map_err(|error| error.to_string())
    }

    #[test]
    fn hosts_addresses_and_ports_are_paired_in_order() {
        let endpoints = |list: &str| {
            let endpoints = Settings::parse(list).expect("a list").endpoints(5432);
            endpoints.map(|all| format!("{all:?}")).map_err(|error| error.to_string())
        };
        let some = endpoints("host=a,/run/pg,c port=1,,3").expect("endpoints");
        assert!(some.starts_with("[Tcp { host: \"a\", address: None, port: 1 }, Unix {"), "{some}");
        assert!(some.contains("\"/run/pg\", port: Some(5432) }, Tcp { host: \"c\""), "{some}");
        let some = endpoints("hostaddr=127.0.0.1,::1 port=7").expect("endpoints");
        assert!(some.contains("host: \"::1\", address: Some(::1), port: 7"), "{some}");
        assert!(endpoints("user=u").expect_err("none").contains("host is missing"));
        assert_eq!(endpoints("host=a,b port=1,2,3").expect_err("3"), "2 hosts but 3 ports");
        let refused = endpoints("host=a hostaddr=::1,::2").expect_err("unequal");
        assert_eq!(refused, "1 host but 2 hostaddr entries");
    }

    #[test]
    fn tls_options_follow_from_the_keys_and_the_default_is_prefer() {
        assert_eq!(tls("host=h"), Ok(Tls::new(SslMode::Prefer)));
        let full = tls("sslmode=verify-full sslrootcert=/ca channel_binding=require");
        let mut wanted = Tls::new(SslMode::VerifyFull).root_certificate("/ca");
        wanted.channel_binding = ChannelBinding::Require;
        assert_eq!(full, Ok(wanted));
        let direct = tls("sslmode=require sslnegotiation=direct").expect("fine");
        assert_eq!(direct.negotiation, SslNegotiation::Direct);
        let pem = tls("sslcert=/c sslkey=/k").expect("fine").identity;
        assert!(matches!(pem, Some(ClientIdentity::Pem { .. })));
        let archive = tls("sslpkcs12=/p sslpassword=hush").expect("fine").identity;
        assert!(matches!(archive, Some(ClientIdentity::Pkcs12 { passphrase: Some(_), .. })));
    }

    #[test]
    fn with_the_systems_authorities_the_host_is_verified() {
        assert_eq!(tls("sslrootcert=system"), Ok(Tls::new(SslMode::VerifyFull)));
        let weak = tls("sslrootcert=system sslmode=require").expect_err("weak");
        assert_eq!(weak, "sslrootcert=system: sslmode must be verify-full, not require");
    }

    #[test]
    fn an_incomplete_client_certificate_is_rejected() {
        for (list, wanted) in [
            ("sslcert=/c", "sslcert: requires sslkey"),
            ("sslkey=/k", "sslkey: requires sslcert"),
            ("sslcert=/c sslkey=/k sslpkcs12=/p", "sslpkcs12: contains certificate and key"),
            ("sslcert=/c sslkey=/k sslpassword=hush", "sslpassword: encrypted PEM keys"),
            ("sslpassword=hush", "sslpassword: requires sslpkcs12"),
        ] {
            let refused = tls(list).expect_err(list);
            assert!(refused.starts_with(wanted) && !refused.contains("hush"), "{refused}");
        }
    }

    #[test]
    fn a_key_or_a_url_of_another_system_is_rejected() {
        let suits = |text: &str, system| {
            let settings = Settings::parse(text).expect("well-formed");
            settings.must_suit(system).map_err(|error| error.to_string())
        };
        assert_eq!(suits("host=h application_name=a", System::Postgres), Ok(()));
        let refused = suits("host=h application_name=a", System::MySql).expect_err("its own");
        assert_eq!(refused, "application_name: a key for PostgreSQL, not for MySQL and MariaDB");
        let refused = suits("mysql://h", System::Postgres).expect_err("another's");
        assert!(refused.contains("is for MySQL and MariaDB, not for PostgreSQL"), "{refused}");
    }
}

#[test]
fn an_ipv6_address_may_have_a_zone_and_an_at_sign_begins_an_abstract_socket() {
    let host = |text: &str| {
        let settings = Settings::parse(text).map_err(|error| error.to_string())?;
        Ok::<_, String>(settings.text("host").unwrap_or_default().to_owned())
    };
    assert_eq!(host("postgres://u@[fe80::1%25eth0]:5/d").as_deref(), Ok("fe80::1%eth0"));
    assert_eq!(host("host=fe80::1%eth0.7 user=u").as_deref(), Ok("fe80::1%eth0.7"));
    assert_eq!(host("postgres://u@%40name/d").as_deref(), Ok("@name"));
    assert_eq!(host("host=@name user=u").as_deref(), Ok("@name"));
    for wrong in
        ["host=fe80::1% user=u", "host=fe80::1%a/b user=u", "host=db%eth0 user=u", "host=@ user=u"]
    {
        assert!(host(wrong).is_err(), "{wrong}");
    }
    assert!(
        host("postgres://u:pw@@name/d").is_ok_and(|host| host == "name"),
        "the last one counts"
    );
}

#[test]
fn the_debug_text_is_one_line_whatever_the_values_hold() {
    let url = "postgres://u%0au:p@h/d%1bd?application_name=a%0aERROR&pool_name=n%0an";
    let text = format!("{:?}", Settings::parse(url).expect("settings"));
    assert!(!text.contains(char::is_control), "{text}");
    assert!(text.contains(r"u\nu") && text.contains(r"n\nn"), "{text}");
}
