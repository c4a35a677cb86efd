//! Settings and options from a file, by `serde`: a map of keys to plain values, parsed as
//! in a connection string.

use super::key_value::{KeyValue, Style};
use super::keys;
use super::settings::Settings;
use super::suggestions;
use crate::config::options::PoolOptions;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::fmt;

/// A value of a key.
enum Value {
    /// An explicit null.
    Null,
    Text(String),
    /// A number, `true` or `false`, as text.
    Plain(String),
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.to_owned()))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    // The default implementations of the next two show the number in their error.
    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Plain(value.to_string()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

struct SettingsVisitor;

impl<'de> Visitor<'de> for SettingsVisitor {
    type Value = Settings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with a url, keys and options")
    }

    // The default implementations show the value, which may be a URL with a password.
    fn visit_str<E: Error>(self, _: &str) -> Result<Settings, E> {
        Err(not_a_map("text"))
    }

    fn visit_bytes<E: Error>(self, _: &[u8]) -> Result<Settings, E> {
        Err(not_a_map("bytes"))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<Settings, E> {
        Err(not_a_map("a number"))
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Settings, E> {
        Err(not_a_map("a number"))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<Settings, E> {
        Err(not_a_map("a number"))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<Settings, E> {
        Err(not_a_map("a number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Settings, E> {
        Err(not_a_map("a number"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
        let mut settings = Settings::default();
        let mut url = None;
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value::<Value>().map_err(|wrong| in_key(&key, &wrong))?;
            let value = match value {
                Value::Null => continue,
                Value::Text(text) => text,
                // 0123 and 1e5 would not be the password that the file has.
                Value::Plain(_) if keys::is_secret(&key) => {
                    let text = format!("{key}: expected text; put the value in quotes");
                    return Err(A::Error::custom(text));
                }
                Value::Plain(text) => text,
            };
            if key == "url" {
                let read = Settings::parse(&value);
                url = Some(read.map_err(|wrong| A::Error::custom(format!("url: {wrong}")))?);
            } else {
                let pair = KeyValue { key, value, may_be_shown: true };
                settings.put(&pair, Style::Bare).map_err(A::Error::custom)?;
            }
        }
        Ok(settings.or(url.unwrap_or_default()))
    }
}

/// Names the key of a value that has no plain type.
fn in_key<E: Error>(key: &str, wrong: &E) -> E {
    match keys::find(key, Style::Bare) {
        keys::Found::Unknown if key != "url" => E::custom(suggestions::unknown(key, Style::Bare)),
        _ => E::custom(format!("{key}: {wrong}")),
    }
}

fn not_a_map<E: Error>(found: &str) -> E {
    E::custom(format!("expected a map with a url, keys and options, found {found} (not shown)"))
}

/// A map: `url`, any key of a URL, and the options by their names; a separate key
/// overrides the URL. Times are texts such as `30s`, or whole seconds.
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Settings, D::Error> {
        // Not `deserialize_map`: formats then show a text that is not a map in their own error.
        deserializer.deserialize_any(SettingsVisitor)
    }
}

/// A map of options by their names; other keys are rejected.
impl<'de> Deserialize<'de> for PoolOptions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PoolOptions, D::Error> {
        let settings = Settings::deserialize(deserializer)?;
        match settings.values.keys().next() {
            Some(key) => Err(D::Error::custom(format!("{key}: not a pool option"))),
            None if settings.system.is_some() => Err(D::Error::custom("url: not a pool option")),
            None => Ok(settings.options),
        }
    }
}

/// The options that are set, as texts.
impl Serialize for PoolOptions {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let texts = self.to_texts();
        let mut map = serializer.serialize_map(Some(texts.len()))?;
        for (name, value) in texts {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}
