//! JSON from strangers: no key twice, no depth without end.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use super::DecodeError;

/// How deep foreign JSON may nest.
pub const MAX_JSON_DEPTH: usize = 32;

/// What serde_json's keys for its own use begin with. As a key of a stranger it would change how the value is read
/// later on.
const PRIVATE: &str = "$serde_json::private::";

/// The key under which serde_json hands over numbers, as text, when any crate of the build turns its feature
/// `arbitrary_precision` on.
const NUMBER: &str = "$serde_json::private::Number";

/// Parses JSON, refusing a key that stands twice in one object (two readers could take two values for one) and
/// nesting beyond [`MAX_JSON_DEPTH`].
///
/// # Errors
/// [`DecodeError::NotJson`] with the reason.
pub fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { depth: 0 }
        .deserialize(&mut deserializer)
        .and_then(|value| deserializer.end().map(|()| value))
        .map_err(|error| DecodeError::NotJson(error.to_string()))?;
    Ok(value)
}

#[derive(Clone, Copy)]
struct Strict {
    depth: usize,
}

impl Strict {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth == MAX_JSON_DEPTH {
            return Err(E::custom(format_args!("nested deeper than {MAX_JSON_DEPTH}")));
        }
        Ok(Self { depth: self.depth + 1 })
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(inner)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut key = entries.next_key::<String>()?;
        if key.as_deref() == Some(NUMBER) {
            let number = number(&entries.next_value::<String>()?);
            let alone = entries.next_key::<IgnoredAny>()?.is_none();
            return number.filter(|_| alone).ok_or_else(|| A::Error::custom("a number is not finite"));
        }
        let inner = self.deeper()?;
        let mut object = Map::new();
        while let Some(name) = key {
            if name.starts_with(PRIVATE) {
                return Err(A::Error::custom("a key is reserved by serde_json"));
            }
            let value = entries.next_value_seed(inner)?;
            if object.insert(name, value).is_some() {
                return Err(A::Error::custom("a key stands twice in one object"));
            }
            key = entries.next_key()?;
        }
        Ok(Value::Object(object))
    }
}

/// A number as serde_json reads it without `arbitrary_precision`: with that feature on it would keep every digit, and
/// exponents no `f64` has.
fn number(text: &str) -> Option<Value> {
    let number: Number = text.parse().ok()?;
    if number.is_u64() {
        return Some(Value::Number(number));
    }
    match number.as_i64() {
        Some(negative) if negative < 0 => Some(negative.into()),
        _ => Number::from_f64(number.as_f64()?).map(Value::Number),
    }
}

#[cfg(test)]
mod tests {
    use serde::de::value::MapDeserializer;

    use super::*;

    #[test]
    fn strict_json_agrees_with_serde_on_good_input() {
        let text = r#"{"a":[1,-2,3.5,"x",null,true,{"b":{}}],"c":"é\n"}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    /// A number as `arbitrary_precision` hands it over: a map of one private key.
    fn precise(text: &str, depth: usize) -> Result<Value, serde_json::Error> {
        Strict { depth }.deserialize(MapDeserializer::new([(NUMBER, text)].into_iter()))
    }

    #[test]
    fn numbers_are_the_same_with_serde_jsons_arbitrary_precision() {
        for text in [
            "0",
            "1",
            "-1",
            "-0",
            "402",
            "3.5",
            "1.0",
            "-2.5e-3",
            "1e2",
            "18446744073709551615",
            "18446744073709551616",
            "-9223372036854775808",
            "-9223372036854775809",
            "123456789012345678901234567890",
        ] {
            let plain = parse(text.as_bytes()).unwrap();
            let precise = precise(text, MAX_JSON_DEPTH).unwrap();
            assert!(precise.is_number(), "{text}");
            assert_eq!(precise.to_string(), plain.to_string());
        }
        for bad in ["1e999", "-1e999", "NaN", "", "x", "1 2", "{}"] {
            assert!(precise(bad, 0).is_err(), "{bad}");
        }
        let more = [(NUMBER, "1"), ("a", "2")].into_iter();
        assert!(Strict { depth: 0 }.deserialize(MapDeserializer::<_, serde_json::Error>::new(more)).is_err());
    }

    #[test]
    fn keys_of_serde_jsons_own_are_refused() {
        for bad in [
            r#"{"a":1,"$serde_json::private::Number":"5"}"#,
            r#"{"$serde_json::private::Number":5}"#,
            r#"{"$serde_json::private::RawValue":"{\"a\":1,\"a\":2}"}"#,
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_json_is_refused() {
        let deep = |n: usize| format!("{}{}", "[".repeat(n), "]".repeat(n));
        assert!(parse(deep(MAX_JSON_DEPTH).as_bytes()).is_ok());
        for bad in [
            deep(MAX_JSON_DEPTH + 1).as_str(),
            deep(100_000).as_str(),
            r#"{"a":1,"a":2}"#,
            r#"{"x":{"a":1,"\u0061":2}}"#,
            "{} {}",
            "",
            "{",
            "NaN",
            "1e999",
        ] {
            assert!(parse(bad.as_bytes()).is_err(), "{}", &bad[..bad.len().min(40)]);
        }
        assert!(parse(b"\"\xff\"").is_err(), "not UTF-8");
    }
}
