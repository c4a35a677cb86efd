//! Settings written as a URL or as key=value text, properly escaped, are read back unchanged.
#![no_main]

use libfuzzer_sys::fuzz_target;
use poolwarden::Settings;
use poolwarden::fuzzing::setting;

fuzz_target!(|input: (&str, &str, &str, u16)| {
    let (user, password, name, port) = input;
    let words = [user, password, name];
    if port == 0 || words.iter().any(|word| word.is_empty() || word.contains('\0')) {
        return;
    }
    let url = format!(
        "mysql://{}:{}@h1:{port},[::1]/{}?pool_max_size={port}",
        encoded(user),
        encoded(password),
        encoded(name)
    );
    let keys = format!(
        "user={} password ={} dbname= {} host=h1,::1 port={port}, pool_max_size={port}",
        quoted(user),
        quoted(password),
        quoted(name)
    );
    for text in [url, keys] {
        let settings = Settings::parse(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"));
        let read =
            ["user", "password", "dbname", "host", "port"].map(|key| setting(&settings, key));
        let ports = format!("{port},");
        let wanted = [user, password, name, "h1,::1", &ports].map(|value| Some(value.to_owned()));
        assert_eq!(read, wanted, "{text:?}");
        assert_eq!(settings.options().max_size, Some(port.into()), "{text:?}");
    }
});

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
