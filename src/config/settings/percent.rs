//! Strict percent-decoding: a malformed text is an error.

/// Decodes a percent-encoded text.
///
/// # Errors
///
/// A description of the mistake, without the text.
pub(super) fn decode(text: &str) -> Result<String, &'static str> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => match (rest.next().and_then(digit), rest.next().and_then(digit)) {
                (Some(high), Some(low)) => high * 16 + low,
                _ => {
                    return Err(
                        "'%' must be followed by two hexadecimal digits (write a literal % as %25)",
                    );
                }
            },
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "percent-encoded bytes are not UTF-8")
}

fn digit(byte: u8) -> Option<u8> {
    let value = char::from(byte).to_digit(16)?;
    u8::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_encoded_text_is_decoded() {
        assert_eq!(decode("a%20b%2Fc%2fd+e").as_deref(), Ok("a b/c/d+e"));
        assert_eq!(decode("%C3%A4").as_deref(), Ok("ä"));
        assert_eq!(decode("").as_deref(), Ok(""));
    }

    #[test]
    fn a_malformed_text_is_rejected() {
        for text in ["%", "%2", "%zz", "a%", "%%20", "%+1", "%ff", "%ä0"] {
            decode(text).expect_err(text);
        }
    }
}
