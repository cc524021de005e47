//! The proxy of a URL, by the environment's variables: `http_proxy` for http, `https_proxy` for https, `all_proxy` for
//! both, each also in capitals, and `no_proxy` for hosts that are asked without one.

use std::net::IpAddr;

use url::{Host, Url};

use super::address;

/// A proxy, and the variable that names it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Chosen {
    pub(super) url: String,
    pub(super) variable: &'static str,
}

impl Chosen {
    /// For error messages: a user whose request is refused must know that a proxy refused it, and which one.
    pub(super) fn in_words(&self) -> String {
        format!("by way of the proxy {}, which {} names", address::redacted(&self.url), self.variable)
    }
}

/// The proxy for `url`, if the environment names one.
pub(super) fn choose(url: &Url, variable: impl Fn(&str) -> Option<String>) -> Result<Option<Chosen>, String> {
    let names: [&'static str; 4] = match url.scheme() {
        "https" => ["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"],
        _ => ["http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"],
    };
    let set = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    let Some((name, value)) = names.into_iter().find_map(|name| Some((name, set(name)?))) else { return Ok(None) };
    if set("no_proxy").or_else(|| set("NO_PROXY")).is_some_and(|list| is_exempt(url, &list)) {
        return Ok(None);
    }
    let value = value.trim();
    let given = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    match Url::parse(&given) {
        Ok(proxy) if matches!(proxy.scheme(), "http" | "https") => Ok(Some(Chosen { url: given, variable: name })),
        Ok(proxy) => Err(format!(
            "{name} names a proxy of the kind {}, and only http and https ones are known: unset it, or add the host to no_proxy",
            proxy.scheme()
        )),
        Err(error) => Err(format!("{name} is {}, which is no URL of a proxy: {error}", address::redacted(value))),
    }
}

/// Whether an entry of `no_proxy` matches: `*`, a host with its subdomains, an address, or a network as `10.0.0.0/8`; each
/// may have a port.
fn is_exempt(url: &Url, list: &str) -> bool {
    let Some(host) = url.host() else { return false };
    let address = match host {
        Host::Ipv4(address) => Some(IpAddr::V4(address)),
        Host::Ipv6(address) => Some(IpAddr::V6(address)),
        Host::Domain(_) => None,
    };
    let name = host.to_string().trim_matches(['[', ']']).to_ascii_lowercase();
    list.split([',', ' ']).map(str::trim).filter(|entry| !entry.is_empty()).any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry == "*" {
            return true;
        }
        if let Some((network, bits)) = entry.split_once('/') {
            return address.is_some_and(|address| is_in(address, network, bits));
        }
        let (entry, port) = match entry.rsplit_once(':') {
            // Several colons are those of an IPv6 address.
            Some((host, port)) if !host.contains(':') || host.ends_with(']') => (host, Some(port)),
            _ => (entry.as_str(), None),
        };
        if port.is_some_and(|port| port.parse() != Ok(url.port_or_known_default().unwrap_or(0))) {
            return false;
        }
        let entry = entry.trim_matches(['[', ']']).trim_start_matches('*').trim_start_matches('.');
        name == entry || (address.is_none() && name.strip_suffix(entry).is_some_and(|rest| rest.ends_with('.')))
    })
}

fn is_in(address: IpAddr, network: &str, bits: &str) -> bool {
    let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
    let differing = match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) if bits <= 32 => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        (IpAddr::V6(a), IpAddr::V6(b)) if bits <= 128 => (a.to_bits() ^ b.to_bits()).leading_zeros(),
        _ => return false,
    };
    differing >= bits
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(url: &str, variables: &[(&str, &str)]) -> Result<Option<String>, String> {
        let of = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned());
        choose(&Url::parse(url).unwrap(), of).map(|chosen| chosen.map(|chosen| chosen.url))
    }

    #[test]
    fn the_scheme_decides_which_variable_counts() {
        let of_https = [("https_proxy", "http://p:1")];
        assert_eq!(chosen("http://host/", &of_https), Ok(None));
        assert_eq!(chosen("https://host/", &of_https), Ok(Some("http://p:1".to_owned())));
        assert_eq!(
            chosen("http://host/", &[("http_proxy", ""), ("ALL_PROXY", "p:1")]),
            Ok(Some("http://p:1".to_owned()))
        );
        assert!(chosen("http://host/", &[("all_proxy", "socks5://p:1")]).unwrap_err().contains("socks5"));
        let error = chosen("http://host/", &[("http_proxy", "http://user:secret@p:99999")]).unwrap_err();
        assert!(error.contains("http_proxy is http://user:***@p:99999"), "{error}");
    }

    #[test]
    fn exempt_hosts_are_asked_directly() {
        let exempt = |url: &str, list: &str| chosen(url, &[("all_proxy", "p"), ("no_proxy", list)]) == Ok(None);
        assert!(exempt("http://a.example.com/", "other, .example.com") && exempt("http://example.com/", "example.com"));
        assert!(!exempt("http://notexample.com/", "example.com") && exempt("http://x/", "*"));
        assert!(exempt("http://127.0.0.1/", "127.0.0.0/8") && !exempt("http://128.0.0.1/", "127.0.0.0/8"));
        assert!(exempt("http://[::1]:81/", "::1") && exempt("http://[::1]/", "[::1]:80"));
        assert!(exempt("http://host:81/", "host:81") && !exempt("http://host:80/", "host:81"));
        assert!(!exempt("http://1.127.0.0.1.example/", "127.0.0.1"));
    }
}
