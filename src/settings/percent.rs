//! Percent-encoding, undone strictly: what is malformed is an error.

/// Undoes percent-encoding.
///
/// # Errors
///
/// Says what is wrong, without the text.
pub(super) fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => match (rest.next().and_then(digit), rest.next().and_then(digit)) {
                (Some(high), Some(low)) => high * 16 + low,
                _ => return Err("% without two hexadecimal digits behind it (% itself is %25)"),
            },
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "percent-encoded bytes that are not UTF-8")
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_decoded() {
        assert_eq!(decode("a%20b%2Fc%2fd+e").as_deref(), Ok("a b/c/d+e"));
        assert_eq!(decode("%C3%A4").as_deref(), Ok("ä"));
        assert_eq!(decode("").as_deref(), Ok(""));
    }

    #[test]
    fn what_is_malformed_is_refused() {
        for text in ["%", "%2", "%zz", "a%", "%%20", "%+1", "%ff", "%ä0"] {
            decode(text).expect_err(text);
        }
    }
}
