//! Routes as one table: (verb, path) to endpoint.

use super::Method;
use super::header::HeaderValue;

/// A method that a route can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verb {
    /// Reads; gives `HEAD` as well.
    Get,
    /// Does.
    Post,
    /// Puts in place.
    Put,
    /// Changes a part.
    Patch,
    /// Removes.
    Delete,
}

impl Verb {
    const ALL: [Self; 5] = [Self::Get, Self::Post, Self::Put, Self::Patch, Self::Delete];

    /// The name of the method in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Post => "post",
            Self::Put => "put",
            Self::Patch => "patch",
            Self::Delete => "delete",
        }
    }

    /// What a request's method asks for; `HEAD` asks for what `GET` does.
    fn of(method: &Method) -> Option<Self> {
        if method == Method::GET || method == Method::HEAD {
            Some(Self::Get)
        } else if method == Method::POST {
            Some(Self::Post)
        } else if method == Method::PUT {
            Some(Self::Put)
        } else if method == Method::PATCH {
            Some(Self::Patch)
        } else if method == Method::DELETE {
            Some(Self::Delete)
        } else {
            None
        }
    }

    fn names(self) -> &'static str {
        match self {
            Self::Get => "GET, HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
            Self::Delete => "DELETE",
        }
    }
}

/// A table of routes.
#[derive(Clone, Debug)]
pub struct Router<E>(matchit::Router<Node<E>>);

#[derive(Clone, Debug)]
struct Node<E> {
    template: &'static str,
    endpoints: Vec<(Verb, E)>,
    allow: HeaderValue,
}

/// The names in a path, still percent-encoded, so that an encoded slash is part of a name.
pub type Params<'r, 'p> = matchit::Params<'r, 'p>;

/// Where a request goes.
#[derive(Debug)]
pub enum Routed<'r, 'p, E> {
    /// To an endpoint.
    To {
        /// Which.
        endpoint: E,
        /// The template of its path.
        template: &'static str,
        /// The names in the path.
        params: Params<'r, 'p>,
    },
    /// Nowhere: the path is known, and has these methods.
    OtherMethods(&'r HeaderValue),
    /// Nowhere.
    Unknown,
}

impl<E: Copy> Router<E> {
    /// A router for these routes; several may share a template.
    ///
    /// # Panics
    ///
    /// If templates contradict each other: the table is part of the program.
    #[must_use]
    pub fn new(routes: &[(Verb, &'static str, E)]) -> Self {
        let mut router = matchit::Router::new();
        for (index, (_, template, _)) in routes.iter().enumerate() {
            let of_template = |route: &&(Verb, &'static str, E)| route.1 == *template;
            if routes.iter().take(index).any(|route| of_template(&route)) {
                continue;
            }
            let endpoints: Vec<(Verb, E)> = routes
                .iter()
                .filter(of_template)
                .map(|(verb, _, endpoint)| (*verb, *endpoint))
                .collect();
            let mut allow: Vec<&str> = Verb::ALL
                .into_iter()
                .filter(|verb| endpoints.iter().any(|(known, _)| known == verb))
                .map(Verb::names)
                .collect();
            allow.push("OPTIONS");
            let node = Node {
                template,
                endpoints,
                allow: HeaderValue::from_str(&allow.join(", ")).expect("method names are ASCII"),
            };
            router
                .insert(*template, node)
                .expect("the templates of the table do not contradict each other");
        }
        Self(router)
    }

    /// Where a request for this path goes.
    pub fn route<'r, 'p>(&'r self, method: &Method, path: &'p str) -> Routed<'r, 'p, E> {
        let Ok(found) = self.0.at(path) else {
            return Routed::Unknown;
        };
        let verb = Verb::of(method);
        let endpoint = found
            .value
            .endpoints
            .iter()
            .find(|(known, _)| Some(*known) == verb);
        match endpoint {
            Some((_, endpoint)) => Routed::To {
                endpoint: *endpoint,
                template: found.value.template,
                params: found.params,
            },
            None => Routed::OtherMethods(&found.value.allow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router<u8> {
        Router::new(&[
            (Verb::Get, "/a/{name}", 1),
            (Verb::Put, "/a/{name}", 2),
            (Verb::Post, "/a/{name}/do", 3),
        ])
    }

    #[test]
    fn an_encoded_slash_does_not_divide_a_path() {
        let router = router();
        let Routed::To { params, .. } = router.route(&Method::GET, "/a/x%2Fdo") else {
            panic!("the route is known");
        };
        assert_eq!(params.get("name"), Some("x%2Fdo"));
    }

    #[test]
    fn head_goes_where_get_goes() {
        assert!(matches!(
            router().route(&Method::HEAD, "/a/x"),
            Routed::To { endpoint: 1, .. }
        ));
    }

    #[test]
    fn another_method_is_told_which_there_are() {
        let router = router();
        for method in [Method::POST, Method::OPTIONS, Method::TRACE] {
            let Routed::OtherMethods(allow) = router.route(&method, "/a/x") else {
                panic!("the path is known and the method is not");
            };
            assert_eq!(allow, "GET, HEAD, PUT, OPTIONS");
        }
    }

    #[test]
    fn paths_that_are_almost_right_are_unknown() {
        let router = router();
        for path in ["", "/", "/a", "/a/", "/a/x/", "/a//do", "*", "/A/x"] {
            assert!(
                matches!(router.route(&Method::GET, path), Routed::Unknown),
                "{path}"
            );
        }
    }
}
