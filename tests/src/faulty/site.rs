//! Call sites: what is done with which resource.

use std::fmt::{self, Display, Formatter};

use http::{Method, Uri};

/// A verb and a resource, as RBAC names them, and whether it is only tried. What is no resource is called by its path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Site {
    verb: &'static str,
    resource: String,
    dry_run: bool,
}

impl Site {
    /// That of a request to the API server.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let mut path = uri.path().trim_matches('/').split('/');
        let group = match path.next() {
            Some("api") => path.next().map(|_| ""),
            Some("apis") => path.next().and_then(|group| path.next().map(|_| group)),
            _ => None,
        };
        let rest: Vec<&str> = path.collect();
        let (Some(group), [first, ..]) = (group, &rest[..]) else {
            return Self {
                verb: "get",
                resource: uri.path().to_owned(),
                dry_run: false,
            };
        };
        let within = match &rest[..] {
            // Of a namespace itself there are its own subresources.
            ["namespaces", _, inner, ..] if !matches!(*inner, "status" | "finalize") => &rest[2..],
            _ => &rest[..],
        };
        let resource = within.first().unwrap_or(first);
        let subresource = within.get(2).map(|sub| format!("/{sub}"));
        let asks = |wanted: &[&str]| {
            let query = uri.query().unwrap_or_default();
            query.split('&').any(|part| wanted.contains(&part))
        };
        let watches = asks(&["watch=true", "watch=1"]);
        let verb = match (method, within.len()) {
            (&Method::GET, 1) if watches => "watch",
            (&Method::GET, 1) => "list",
            (&Method::POST, _) => "create",
            (&Method::PUT, _) => "update",
            (&Method::PATCH, _) => "patch",
            (&Method::DELETE, 1) => "deletecollection",
            (&Method::DELETE, _) => "delete",
            _ => "get",
        };
        Self {
            verb,
            resource: format!("{group}/{resource}{}", subresource.unwrap_or_default()),
            dry_run: asks(&["dryRun=All"]),
        }
    }

    /// Whether it may change something.
    pub fn is_write(&self) -> bool {
        !["get", "list", "watch"].contains(&self.verb)
    }

    /// Whether its answer has no end.
    pub fn is_watch(&self) -> bool {
        self.verb == "watch"
    }

    /// Whether it reads at, or from, a resource version.
    pub fn reads_a_version(&self) -> bool {
        ["list", "watch"].contains(&self.verb)
    }
}

impl Display for Site {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let tried = if self.dry_run { " (dry run)" } else { "" };
        write!(f, "{} {}{tried}", self.verb, self.resource)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_site_is_named_as_rbac_does() {
        for (method, uri, expected) in [
            (Method::GET, "/api/v1/pods?limit=100", "list /pods"),
            (Method::GET, "/api/v1/pods?&watch=true&x=y", "watch /pods"),
            (Method::GET, "/api/v1/namespaces/a", "get /namespaces"),
            (Method::PATCH, "/api/v1/namespaces/a", "patch /namespaces"),
            (
                Method::PUT,
                "/api/v1/namespaces/a/status",
                "update /namespaces/status",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/a/secrets?dryRun=All",
                "create /secrets (dry run)",
            ),
            (
                Method::POST,
                "/api/v1/namespaces/a/pods/b/eviction",
                "create /pods/eviction",
            ),
            (
                Method::GET,
                "/api/v1/namespaces/a/pods/b:15014/proxy/metrics",
                "get /pods/proxy",
            ),
            (
                Method::PATCH,
                "/apis/meshlift.io/v1alpha1/meshupgrades/a/status?",
                "patch meshlift.io/meshupgrades/status",
            ),
            (
                Method::DELETE,
                "/apis/apps/v1/namespaces/a/deployments/b",
                "delete apps/deployments",
            ),
            (Method::GET, "/apis/apps/v1", "get /apis/apps/v1"),
            (Method::GET, "/version", "get /version"),
        ] {
            let uri = uri.parse().expect("a URI");
            assert_eq!(Site::of(&method, &uri).to_string(), expected, "{uri}");
        }
    }
}
