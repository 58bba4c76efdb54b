//! What a registry asks for before it lets somebody in: the header `WWW-Authenticate`.

use reqwest::Url;

/// A way in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password, at every request.
    Basic,
    /// A token, which this address gives, to anybody or for user and password.
    Bearer(Url),
}

impl Challenge {
    /// Reads the value of one header; `None` for ways that are not known here.
    /// Source: the distribution project, `docs/content/spec/auth/token.md`.
    pub(super) fn read(value: &str) -> Option<Self> {
        let (scheme, rest) = value.trim().split_once(' ').unwrap_or((value.trim(), ""));
        if scheme.eq_ignore_ascii_case("basic") {
            return Some(Self::Basic);
        }
        if !scheme.eq_ignore_ascii_case("bearer") {
            return None;
        }
        let parameters = parameters(rest);
        let of = |name: &str| {
            parameters
                .iter()
                .find(|(key, _)| key.eq_ignore_ascii_case(name))
        };
        let mut realm = Url::parse(&of("realm")?.1).ok()?;
        for name in ["service", "scope"] {
            if let Some((_, value)) = of(name) {
                realm.query_pairs_mut().append_pair(name, value);
            }
        }
        Some(Self::Bearer(realm))
    }
}

/// `key="value"` pairs; a comma within quotes separates nothing.
fn parameters(text: &str) -> Vec<(String, String)> {
    let mut quoted = false;
    let pairs = text.split(|c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    let pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
    pairs
        .map(|(key, value)| {
            (
                key.trim().to_owned(),
                value.trim().trim_matches('"').to_owned(),
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_asked_for_what_the_registry_says() {
        let value = r#"Bearer realm="https://auth.local/token",service="reg",scope="repository:a/b:pull,push""#;
        let Some(Challenge::Bearer(url)) = Challenge::read(value) else {
            panic!("no challenge")
        };
        assert_eq!(
            url.as_str(),
            "https://auth.local/token?service=reg&scope=repository%3Aa%2Fb%3Apull%2Cpush"
        );
    }

    #[test]
    fn what_is_not_understood_is_no_way_in() {
        assert_eq!(Challenge::read("Basic realm=\"x\""), Some(Challenge::Basic));
        for value in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer realm=nothing",
            "Bearer service=x",
        ] {
            assert_eq!(Challenge::read(value), None, "{value}");
        }
    }
}
