//! Settings and knobs out of a file, by `serde`: a map of keys to plain values, read
//! as if each had been written in a list of keys.

use super::{Given, Settings, Style};
use crate::config::Knobs;
use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap as _, Serializer};
use std::fmt;

/// A value as a text; `None` if the file says that there is none.
struct Word(Option<String>);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Word, D::Error> {
        deserializer.deserialize_any(Words)
    }
}

struct Words;

impl<'de> Visitor<'de> for Words {
    type Value = Word;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a number, true or false")
    }

    fn visit_str<E>(self, text: &str) -> Result<Word, E> {
        Ok(Word(Some(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Word, E> {
        Ok(Word(Some(value.to_string())))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Word, E> {
        Ok(Word(Some(value.to_string())))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Word, E> {
        Ok(Word(Some(value.to_string())))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Word, E> {
        Ok(Word(Some(value.to_string())))
    }

    fn visit_unit<E>(self) -> Result<Word, E> {
        Ok(Word(None))
    }

    fn visit_none<E>(self) -> Result<Word, E> {
        Ok(Word(None))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Word, D::Error> {
        deserializer.deserialize_any(self)
    }
}

struct Keys;

impl<'de> Visitor<'de> for Keys {
    type Value = Settings;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a map with a url, keys and knobs")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Settings, A::Error> {
        let mut settings = Settings::default();
        let mut url = None;
        while let Some((key, Word(value))) = map.next_entry::<String, Word>()? {
            let Some(value) = value else { continue };
            if key == "url" {
                let read = Settings::parse(&value);
                url = Some(read.map_err(|wrong| A::Error::custom(format!("url: {wrong}")))?);
            } else {
                let given = Given { key, value, may_be_shown: true };
                settings.put(&given, Style::Bare).map_err(A::Error::custom)?;
            }
        }
        Ok(settings.or(url.unwrap_or_default()))
    }
}

/// A map: `url`, any key of a URL, and the knobs by their names; what stands beside
/// the URL wins over what is in it. Times are texts such as `30s`, or whole seconds.
impl<'de> Deserialize<'de> for Settings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Settings, D::Error> {
        deserializer.deserialize_map(Keys)
    }
}

/// A map of knobs by their names, and of nothing else.
impl<'de> Deserialize<'de> for Knobs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Knobs, D::Error> {
        let settings = Settings::deserialize(deserializer)?;
        match settings.values.keys().next() {
            Some(key) => Err(D::Error::custom(format!("{key}: not a knob"))),
            None if settings.system.is_some() => Err(D::Error::custom("url: not a knob")),
            None => Ok(settings.knobs),
        }
    }
}

/// The knobs that are set, as texts.
impl Serialize for Knobs {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = self.written();
        let mut map = serializer.serialize_map(Some(written.len()))?;
        for (name, value) in written {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}
