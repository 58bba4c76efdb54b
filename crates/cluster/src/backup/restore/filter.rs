//! What to bring back: `VirtualService/shop/cart`.

use std::str::FromStr;

use super::ObjectId;

/// A kind, and of it a namespace or a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    kind: String,
    rest: Vec<String>,
}

impl FromStr for Filter {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut words = text.split('/').map(str::to_owned);
        let kind = words.next().unwrap_or_default();
        let rest: Vec<String> = words.collect();
        if kind.is_empty() || rest.len() > 2 {
            Err("write KIND, KIND/NAMESPACE or KIND/NAMESPACE/NAME, as in VirtualService/shop/cart; KIND/NAME for what has no namespace".to_owned())
        } else {
            Ok(Self { kind, rest })
        }
    }
}

impl Filter {
    /// Whether it speaks of this object. An empty namespace or name is any.
    pub fn matches(&self, id: &ObjectId) -> bool {
        let is = |wanted: &str, word: &str| wanted.is_empty() || wanted == word;
        let long = format!("{}.{}", id.kind, id.group);
        let kind = [&id.kind, &long];
        if !kind
            .iter()
            .any(|kind| kind.eq_ignore_ascii_case(&self.kind))
        {
            return false;
        }
        match (self.rest.as_slice(), &id.namespace) {
            ([], _) => true,
            ([namespace], Some(of)) => is(namespace, of),
            ([name], None) => is(name, &id.name),
            ([namespace, name, ..], of) => {
                is(namespace, of.as_deref().unwrap_or_default()) && is(name, &id.name)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(kind: &str, namespace: Option<&str>, name: &str) -> ObjectId {
        ObjectId {
            kind: kind.into(),
            group: "networking.istio.io".into(),
            namespace: namespace.map(Into::into),
            name: name.into(),
        }
    }

    #[test]
    fn a_filter_names_a_kind_a_namespace_or_one_object() {
        let cart = id("VirtualService", Some("shop"), "cart");
        let shop = id("Namespace", None, "shop");
        for (text, cart_too, shop_too) in [
            ("virtualservice", true, false),
            ("VirtualService.networking.istio.io", true, false),
            ("VirtualService.gateway.networking.k8s.io", false, false),
            ("VirtualService/shop", true, false),
            ("VirtualService/blog", false, false),
            ("VirtualService/shop/cart", true, false),
            ("VirtualService/shop/web", false, false),
            ("VirtualService//cart", true, false),
            ("Namespace/shop", false, true),
            ("Namespace/blog", false, false),
            ("Namespace//shop", false, true),
        ] {
            let filter: Filter = text.parse().expect("a filter");
            let found = (filter.matches(&cart), filter.matches(&shop));
            assert_eq!(found, (cart_too, shop_too), "{text}");
        }
        for text in ["", "/shop", "A/b/c/d"] {
            let why = text.parse::<Filter>().expect_err("no filter");
            assert!(why.contains("KIND/NAMESPACE/NAME"), "{why}");
        }
    }
}
