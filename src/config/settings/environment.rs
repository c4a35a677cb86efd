//! Settings from the environment: with a prefix of your own, or libpq's variables.

use super::key_value::Style;
use super::keys;
use super::settings::Settings;
use crate::config::options::PoolOptions;
use crate::error::Error;
use std::ffi::OsString;
use std::fs;
use std::path::Path;

/// PostgreSQL documentation, "Environment Variables".
const LIBPQ: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGAPPNAME", "application_name"),
    ("PGOPTIONS", "options"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
    ("PGGSSENCMODE", "gssencmode"),
    ("PGSSLCERTMODE", "sslcertmode"),
];

/// Variables that change the server or the security of a connection and are not
/// supported: they are rejected, as their keys are.
const LIBPQ_REFUSED: &[(&str, &str)] = &[
    ("PGSERVICE", "service"),
    ("PGREQUIREPEER", "requirepeer"),
    ("PGREQUIREAUTH", "require_auth"),
    ("PGREQUIRESSL", "requiressl"),
    ("PGSSLCRL", "sslcrl"),
    ("PGSSLCRLDIR", "sslcrldir"),
    ("PGSSLMINPROTOCOLVERSION", "ssl_min_protocol_version"),
    ("PGSSLMAXPROTOCOLVERSION", "ssl_max_protocol_version"),
];

impl Settings {
    /// Reads the variables of this process that begin with the prefix:
    /// `<PREFIX>_URL`, `<PREFIX>_MAX_SIZE`, `<PREFIX>_PASSWORD`, and so on.
    ///
    /// Every key and option has a variable, in upper case and with `_` for `-`;
    /// `from_env("DATABASE")` reads `DATABASE_URL`. A separate variable overrides the
    /// URL. `<PREFIX>_PASSWORD_FILE`, and the same for every other variable, names a
    /// file whose content is the value, without the trailing newline: a mounted secret.
    /// An empty variable counts as unset.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), naming the variable, and never showing
    /// its value.
    pub fn from_env(prefix: &str) -> Result<Settings, Error> {
        Settings::from_lookup(prefix, |name| std::env::var_os(name))
    }

    /// As [`from_env`](Settings::from_env), from any environment: `look_up` is called
    /// with each name.
    ///
    /// ```
    /// use poolwarden::Settings;
    ///
    /// let settings = Settings::from_lookup("ORDERS", |name| match name {
    ///     "ORDERS_URL" => Some("postgres://app@db/orders".into()),
    ///     "ORDERS_MAX_SIZE" => Some("8".into()),
    ///     _ => None,
    /// })?;
    /// assert_eq!(settings.options().max_size, Some(8));
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`from_env`](Settings::from_env).
    pub fn from_lookup<F>(prefix: &str, look_up: F) -> Result<Settings, Error>
    where
        F: Fn(&str) -> Option<OsString>,
    {
        let mut settings = Settings::default();
        for (variable, name) in variables() {
            let variable = format!("{prefix}_{variable}");
            let Some((shown, value)) = value_of(&variable, &look_up)? else { continue };
            let set = match keys::find(name, Style::Bare) {
                keys::Found::Option(option) => settings.set_option(&shown, option, &value),
                keys::Found::Key(key) => settings.set_key(&shown, key, &value),
                _ => Ok(()),
            };
            set.map_err(Error::config)?;
        }
        match value_of(&format!("{prefix}_URL"), &look_up)? {
            Some((shown, url)) => {
                let url = Settings::parse(&url);
                Ok(settings.or(url.map_err(|wrong| Error::config(format!("{shown}: {wrong}")))?))
            }
            None => Ok(settings),
        }
    }

    /// Reads libpq's variables of this process: `PGHOST`, `PGUSER`, `PGPASSWORD`,
    /// and so on.
    ///
    /// As in libpq, they apply where a URL does not set a key:
    ///
    /// ```no_run
    /// use poolwarden::Settings;
    ///
    /// let settings = "postgres://db.example.com/app".parse::<Settings>()?;
    /// let settings = settings.or(Settings::from_pg_env()?);
    /// # Ok::<(), poolwarden::Error>(())
    /// ```
    ///
    /// Where no password is set, the password file is read at every connect:
    /// `PGPASSFILE`, or `.pgpass` in the directory `HOME` if it exists now. A file that
    /// other users can access is not used, with a warning.
    ///
    /// # Errors
    ///
    /// [`Config`](crate::ErrorKind::Config), naming the variable, and never showing
    /// its value; also for `PGSERVICE` and other unsupported variables that change the
    /// server or the security of a connection.
    pub fn from_pg_env() -> Result<Settings, Error> {
        Settings::from_pg_lookup(|name| std::env::var_os(name))
    }

    /// As [`from_pg_env`](Settings::from_pg_env), from any environment.
    ///
    /// # Errors
    ///
    /// As [`from_pg_env`](Settings::from_pg_env).
    pub fn from_pg_lookup<F>(look_up: F) -> Result<Settings, Error>
    where
        F: Fn(&str) -> Option<OsString>,
    {
        let mut settings = Settings::default();
        for (variable, name) in LIBPQ_REFUSED {
            let is_set = look_up(variable).is_some_and(|value| !value.is_empty());
            if let (true, keys::Found::Refused(why)) = (is_set, keys::find(name, Style::Prefixed)) {
                return Err(Error::config(format!("{variable}: {why}")));
            }
        }
        for (variable, name) in LIBPQ {
            let value = text_of(variable, look_up(variable))?;
            if let (Some(value), Some(key)) = (value, keys::named(name)) {
                settings.set_key(variable, key, &value).map_err(Error::config)?;
            }
        }
        if let (None, Some(file)) = (settings.text("passfile"), home_passfile(&look_up)) {
            settings.set("passfile", &file)?;
        }
        Ok(settings)
    }
}

/// PostgreSQL documentation, "The Password File": `.pgpass` in the home directory.
fn home_passfile<F>(look_up: &F) -> Option<String>
where
    F: Fn(&str) -> Option<OsString>,
{
    let home = look_up("HOME").filter(|home| !home.is_empty())?;
    let file = Path::new(&home).join(".pgpass");
    if file.is_file() { file.into_os_string().into_string().ok() } else { None }
}

/// Variables whose names are not the key's in upper case. `DB_NAME` is by convention the
/// database's name, and not the pool's.
const OTHER_NAMES: &[(&str, &str)] =
    &[("NAME", "dbname"), ("DATABASE", "dbname"), ("USERNAME", "user"), ("POOL_NAME", "name")];

/// Returns the part after the prefix, and the key or option that it sets.
fn variables() -> Vec<(String, &'static str)> {
    let options = PoolOptions::NAMES.iter().copied().filter(|name| *name != "name");
    // A name that is both an option and a key is the option.
    let keys = keys::names().filter(|name| !PoolOptions::NAMES.contains(name) && *name != "ssl");
    let same = keys.chain(options).map(|name| (name.to_uppercase(), name));
    let others = OTHER_NAMES.iter().map(|(variable, name)| ((*variable).to_owned(), *name));
    same.chain(others).collect()
}

/// Returns the value of a variable, or of the file that its `_FILE` variable names, with
/// the name of the variable that was used.
fn value_of<F>(variable: &str, look_up: &F) -> Result<Option<(String, String)>, Error>
where
    F: Fn(&str) -> Option<OsString>,
{
    let by_file = format!("{variable}_FILE");
    let value = text_of(variable, look_up(variable))?;
    let path = look_up(&by_file).filter(|path| !path.is_empty());
    match (value, path) {
        (Some(_), Some(_)) => {
            Err(Error::config(format!("{variable} and {by_file} are both set; set only one")))
        }
        (Some(value), None) => Ok(Some((variable.to_owned(), value))),
        (None, None) => Ok(None),
        (None, Some(path)) => {
            let text = fs::read_to_string(&path).map_err(|error| {
                Error::config(format!("{by_file}: cannot read the file")).with_source(error)
            })?;
            let value = text.strip_suffix('\n').unwrap_or(&text);
            let value = value.strip_suffix('\r').unwrap_or(value);
            Ok(Some((by_file, value.to_owned())))
        }
    }
}

fn text_of(variable: &str, value: Option<OsString>) -> Result<Option<String>, Error> {
    let text = value.map(OsString::into_string).transpose();
    let text = text.map_err(|_| Error::config(format!("{variable}: invalid UTF-8")))?;
    Ok(text.filter(|text| !text.is_empty()))
}

#[cfg(test)]
#[path = "environment_tests.rs"]
mod tests;
