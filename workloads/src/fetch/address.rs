//! URLs: parsed by the rules of browsers, and shown without their passwords.

use url::Url;

/// Parses the URL that a user wrote; the error says why it is none.
pub(super) fn parse(text: &str) -> Result<Url, String> {
    const NEITHER: &str = "is not a URL that begins with http:// or https://";
    match Url::parse(text) {
        Ok(url) if is_web(&url) => Ok(url),
        Ok(_) => Err(NEITHER.to_owned()),
        Err(url::ParseError::RelativeUrlWithoutBase) => Err(NEITHER.to_owned()),
        Err(url::ParseError::InvalidPort) => Err("has a port that is no number from 0 to 65535".to_owned()),
        Err(error) => Err(format!("is not a URL: {error}")),
    }
}

/// The target of a redirect: the `Location` header, relative to the URL that answered with it.
pub(super) fn follow(from: &Url, location: &[u8]) -> Result<Url, String> {
    let location = text_of(location);
    let told = || redacted(&location);
    let url = from.join(&location).map_err(|error| format!("redirects to {}, which is no URL: {error}", told()))?;
    if is_web(&url) { Ok(url) } else { Err(format!("redirects to {}, which is neither http nor https", told())) }
}

fn is_web(url: &Url) -> bool {
    matches!(url.scheme(), "http" | "https")
}

/// Bytes as text; those that are not UTF-8 are percent-encoded as in URLs.
pub(super) fn text_of(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        chunk.invalid().iter().for_each(|byte| text.push_str(&format!("%{byte:02X}")));
    }
    text
}

/// The URL without its password, whether it is valid or not. The end of a password in an invalid URL is unknown, so rather too
/// much is left out.
pub(super) fn redacted(text: &str) -> String {
    let Some(start) = text.find("://").map(|place| place + 3) else { return text.to_owned() };
    let rest = &text[start..];
    let authority = &rest[..rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len())];
    let end = match authority.rfind('@') {
        Some(end) => end,
        None if Url::parse(text).is_err() => match rest.rfind('@') {
            Some(end) => end,
            None => return text.to_owned(),
        },
        None => return text.to_owned(),
    };
    match rest[..end].find(':') {
        Some(colon) => format!("{}:***{}", &text[..start + colon], &rest[end..]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_port_is_no_other_port_either() {
        for bad in ["99999", "65536", "abc", "-1", "080080"] {
            let reason = parse(&format!("http://127.0.0.1:{bad}/")).unwrap_err();
            assert!(reason.contains("port"), "{bad}: {reason}");
        }
        assert_eq!(parse("HTTP://127.0.0.1:65535/x").unwrap().as_str(), "http://127.0.0.1:65535/x");
        assert_eq!(parse("http://b\u{fc}cher.example/a b").unwrap().as_str(), "http://xn--bcher-kva.example/a%20b");
        for bad in ["nonsense", "ftp://host/", "http:", "http://", "http://[bad"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redirects_are_relative_escaped_and_checked() {
        let from = Url::parse("http://user:secret@host/a/b").unwrap();
        let to = |location: &[u8]| follow(&from, location);
        assert_eq!(to(b"c?d").unwrap().path(), "/a/c");
        assert_eq!(to("/caf\u{e9}".as_bytes()).unwrap().path(), "/caf%C3%A9");
        assert_eq!(to(b"/caf\xe9").unwrap().path(), "/caf%E9");
        assert_eq!(to(b"//other/").unwrap().password(), None);
        assert!(to(b"http://[bad").unwrap_err().contains("which is no URL"));
        assert!(to(b"file:///etc/passwd").unwrap_err().contains("neither http nor https"));
    }

    #[test]
    fn passwords_are_never_shown() {
        for (given, shown) in [
            ("http://user:secret@host/@x:y", "http://user:***@host/@x:y"),
            ("http://user@host/", "http://user@host/"),
            ("http://host:80/a:b@c", "http://host:80/a:b@c"),
            ("http://user:sec@ret@host:99999/", "http://user:***@host:99999/"),
            ("http://user:sec/ret@host/", "http://user:***@host/"),
            ("nonsense", "nonsense"),
        ] {
            assert_eq!(redacted(given), shown);
        }
    }
}
