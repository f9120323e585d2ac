//! `http.route` for servers whose framework we cannot ask: inferred from paths, with bounded cardinality.
//!
//! A path's segments walk a trie. A segment that looks like an identifier goes to the child `{id}`; one that
//! cannot be a route's literal (percent-encoded, not ASCII, very long) to `{param}`; a file name with a known
//! asset's extension to `*.ext`; anything else to a literal child, of which a node takes only so many, first
//! come: later ones go to `{param}`. Few are taken of those that smell of data (digits, many words), more of
//! those that are plain words. Paths deeper than `MAX_DEPTH` end in `/**`. Once `max_routes` routes
//! exist, whatever is new is `/**`, whole. Names that need no inference are kept beside the trie, under the same
//! limit.
//!
//! Routes are learnt only from answers that prove the path exists: a scanner's 404s leave no trace. A path's
//! route never changes once given, so it may be cached for the router's life.

mod cache;
mod segment;

use std::sync::Arc;

use rustc_hash::FxHashMap;

pub use cache::{PathCache, Routed};
use segment::Kind;

/// Segments of a route; the rest is `**`.
pub const MAX_DEPTH: usize = 8;
/// The route of everything beyond the limit.
pub const OVERFLOW: &str = "/**";

const ID: &str = "{id}";
const PARAM: &str = "{param}";
const REST: &str = "**";

/// A route of one router; `RouteId::UNSET` is no route.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

impl RouteId {
    /// No route.
    pub const UNSET: Self = Self(0);
    const OVERFLOW: Self = Self(1);
}

struct Node {
    /// The route's text up to here, "" at the root.
    text: Box<str>,
    /// The route that ends here, UNSET while none was learnt.
    route: RouteId,
    /// Literals and globs, sorted by name.
    children: Vec<(Box<[u8]>, u32)>,
    /// The children `{id}` and `{param}`; 0 is none.
    id: u32,
    param: u32,
    words: u16,
    odd: u16,
}

impl Node {
    fn new(text: String) -> Self {
        Self {
            text: text.into(),
            route: RouteId::UNSET,
            children: Vec::new(),
            id: 0,
            param: 0,
            words: 0,
            odd: 0,
        }
    }

    /// The child of that name, or where it would be.
    fn child(&self, name: &[u8]) -> Result<u32, usize> {
        match self
            .children
            .binary_search_by(|(child, _)| (**child).cmp(name))
        {
            Ok(at) => Ok(self.children[at].1),
            Err(at) => Err(at),
        }
    }
}

/// The routes of one service.
pub struct Router {
    nodes: Vec<Node>,
    names: Vec<Arc<str>>,
    literals: FxHashMap<Arc<str>, RouteId>,
    max_routes: usize,
    max_words: u16,
    max_odd: u16,
}

impl Router {
    /// At most `max_routes` distinct routes, `/**` included.
    pub fn new(max_routes: usize) -> Self {
        Self {
            nodes: Vec::new(),
            names: vec![Arc::from(""), Arc::from(OVERFLOW)],
            literals: FxHashMap::default(),
            max_routes,
            max_words: (max_routes / 8).clamp(2, 100) as u16,
            max_odd: (max_routes / 32).clamp(1, 25) as u16,
        }
    }

    /// The text of a route.
    pub fn name(&self, route: RouteId) -> &Arc<str> {
        &self.names[route.0 as usize]
    }

    /// Routes given so far; `/**` counts from the start.
    pub fn len(&self) -> usize {
        self.names.len() - 1
    }

    /// No route was learnt.
    pub fn is_empty(&self) -> bool {
        self.len() == 1
    }

    /// The route of a path (no query, no authority). `learn`: the answer proves that the path exists; without
    /// it only what is known is given, else UNSET.
    pub fn route(&mut self, path: &[u8], learn: bool) -> RouteId {
        if path.first() != Some(&b'/') {
            return RouteId::UNSET;
        }
        let full = self.len() >= self.max_routes;
        let refusal = match (learn, full) {
            (false, _) => Some(RouteId::UNSET),
            (true, true) => Some(RouteId::OVERFLOW),
            (true, false) => None,
        };
        if path == OVERFLOW.as_bytes() {
            return refusal.unwrap_or(RouteId::OVERFLOW);
        }
        if self.nodes.is_empty() {
            self.nodes.push(Node::new(String::new()));
        }
        let mut node = 0;
        let mut rest = path;
        let mut depth = 0;
        while let Some((segment, after)) = next_segment(rest) {
            rest = after;
            let step = if depth == MAX_DEPTH {
                self.step_to_glob(node, REST)
            } else {
                self.step(node, segment, rest)
            };
            node = match (step, refusal) {
                (Step::Known(child), _) => child,
                (Step::New(..), Some(refusal)) => return refusal,
                (Step::New(name, kind, at), None) => self.grow(node, name, kind, at),
            };
            if depth == MAX_DEPTH {
                break;
            }
            depth += 1;
        }
        let route = self.nodes[node as usize].route;
        if route != RouteId::UNSET {
            return route;
        }
        refusal.unwrap_or_else(|| self.name_node(node))
    }

    /// A name that is taken as it is, and counts as a route. `learn` as with `route`; beyond the limit, what is
    /// new is UNSET.
    pub fn literal(&mut self, name: &str, learn: bool) -> RouteId {
        if let Some(route) = self.literals.get(name) {
            return *route;
        }
        if !learn || self.len() >= self.max_routes {
            return RouteId::UNSET;
        }
        let route = RouteId(self.names.len() as u32);
        let name: Arc<str> = name.into();
        self.names.push(name.clone());
        self.literals.insert(name, route);
        route
    }

    #[inline]
    fn step<'a>(&self, node: u32, segment: &'a [u8], rest: &[u8]) -> Step<'a> {
        if let Some(glob) = segment::asset(segment).filter(|_| next_segment(rest).is_none()) {
            return self.step_to_glob(node, glob);
        }
        let here = &self.nodes[node as usize];
        // An identifier is never a literal, and most begin with a digit: no need to search for those.
        let early = segment[0]
            .is_ascii_digit()
            .then(|| segment::classify(segment));
        let mut place = 0;
        if early != Some(Kind::Id) {
            match here.child(segment) {
                // A '*' as sent is not one of ours.
                Ok(child) if segment[0] != b'*' => return Step::Known(child),
                Ok(_) => {}
                Err(at) => place = at,
            }
        }
        match early.unwrap_or_else(|| segment::classify(segment)) {
            Kind::Word if here.words < self.max_words => Step::New(segment, Kind::Word, place),
            Kind::Odd if here.odd < self.max_odd => Step::New(segment, Kind::Odd, place),
            Kind::Id if here.id != 0 => Step::Known(here.id),
            Kind::Id => Step::New(ID.as_bytes(), Kind::Id, 0),
            _ if here.param != 0 => Step::Known(here.param),
            _ => Step::New(PARAM.as_bytes(), Kind::Param, 0),
        }
    }

    fn step_to_glob(&self, node: u32, glob: &'static str) -> Step<'static> {
        match self.nodes[node as usize].child(glob.as_bytes()) {
            Ok(child) => Step::Known(child),
            Err(at) => Step::New(glob.as_bytes(), Kind::Glob, at),
        }
    }

    fn grow(&mut self, parent: u32, name: &[u8], kind: Kind, at: usize) -> u32 {
        let child = self.nodes.len() as u32;
        let parent = &mut self.nodes[parent as usize];
        match kind {
            Kind::Id => parent.id = child,
            Kind::Param => parent.param = child,
            Kind::Word | Kind::Odd | Kind::Glob => parent.children.insert(at, (name.into(), child)),
        }
        parent.words += u16::from(kind == Kind::Word);
        parent.odd += u16::from(kind == Kind::Odd);
        // A literal is ASCII by its kind, so that nothing is replaced here.
        let text = format!("{}/{}", parent.text, String::from_utf8_lossy(name));
        self.nodes.push(Node::new(text));
        child
    }

    fn name_node(&mut self, node: u32) -> RouteId {
        let node = &mut self.nodes[node as usize];
        node.route = RouteId(self.names.len() as u32);
        self.names.push(if node.text.is_empty() {
            "/".into()
        } else {
            Arc::from(&*node.text)
        });
        node.route
    }
}

enum Step<'a> {
    Known(u32),
    /// The child's name and kind, and its place among the children.
    New(&'a [u8], Kind, usize),
}

/// The first segment that is not empty, without its parameters (`;v=1`), and what follows it.
#[inline]
fn next_segment(mut path: &[u8]) -> Option<(&[u8], &[u8])> {
    loop {
        path = path.strip_prefix(b"/")?;
        let cut = path
            .iter()
            .position(|b| matches!(b, b'/' | b';'))
            .unwrap_or(path.len());
        let (segment, after) = path.split_at(cut);
        path = match after.first() {
            Some(b';') => &after[memchr::memchr(b'/', after).unwrap_or(after.len())..],
            _ => after,
        };
        if cut > 0 {
            return Some((segment, path));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn routes(max: usize, paths: &[&str]) -> Vec<String> {
        let mut router = Router::new(max);
        paths
            .iter()
            .map(|p| learn(&mut router, p.as_bytes()))
            .collect()
    }

    fn learn(router: &mut Router, path: &[u8]) -> String {
        let route = router.route(path, true);
        router.name(route).to_string()
    }

    #[test]
    fn what_people_expect() {
        for (path, route) in [
            ("/", "/"),
            ("//", "/"),
            ("/users", "/users"),
            ("/users/", "/users"),
            ("//api///v1//users", "/api/v1/users"),
            ("/users/123", "/users/{id}"),
            ("/users/123/orders/0", "/users/{id}/orders/{id}"),
            ("/o/0f8fad5b-d9cb-469f-a165-70867728950e", "/o/{id}"),
            ("/o/0F8FAD5BD9CB469FA16570867728950E", "/o/{id}"),
            ("/o/507f1f77bcf86cd799439011", "/o/{id}"),
            ("/commit/a1b2c3d4", "/commit/{id}"),
            ("/o/01ARZ3NDEKTSV4RRFFQ69G5FAV", "/o/{id}"),
            ("/o/cus_9s6XKzkNRiz8i3", "/o/{id}"),
            ("/o/dGhpcyBpcyBhIHRlc3Q0Mg", "/o/{id}"),
            ("/o/V1StGXR8_Z5jdHi6B-myT", "/o/{id}"),
            ("/blog/2024-01-02/x", "/blog/{id}/x"),
            ("/blog/2024/01/02/x", "/blog/{id}/{id}/{id}/x"),
            ("/at/2024-01-02T03:04:05Z", "/at/{id}"),
            ("/u/jane.doe@example.org/x", "/u/{id}/x"),
            ("/u/INV-2024-001", "/u/{id}"),
            ("/@jane", "/{id}"),
            ("/geo/52.52,13.40", "/geo/{id}"),
            ("/api/v2/users", "/api/v2/users"),
            ("/oauth2/token", "/oauth2/token"),
            ("/api/1.0/users", "/api/1.0/users"),
            ("/facade/decade/feedback", "/facade/decade/feedback"),
            ("/getUserProfile", "/getUserProfile"),
            (
                "/.well-known/openid-configuration",
                "/.well-known/openid-configuration",
            ),
            ("/login.php", "/login.php"),
            ("/f/caf%C3%A9", "/f/{param}"),
            ("/f/\u{e9}t\u{e9}", "/f/{param}"),
            ("/a;v=1/b;x", "/a/b"),
            ("/;/a", "/a"),
            ("/static/app.3f2a1b.js", "/static/*.js"),
            ("/favicon.ICO", "/*.ico"),
            ("/a/b/c/d/e/f/g/h", "/a/b/c/d/e/f/g/h"),
            ("/a/b/c/d/e/f/g/h/i/j", "/a/b/c/d/e/f/g/h/**"),
            ("*", ""),
            ("", ""),
            ("example.org:443", ""),
            ("/**", "/**"),
        ] {
            assert_eq!(routes(200, &[path]), [route], "{path}");
        }
    }

    #[test]
    fn many_siblings_become_one_route() {
        let mut router = Router::new(200);
        let slugs = (0..500).map(|i| format!("/products/red-shoes-{i}/reviews"));
        let all: HashSet<String> = slugs.map(|p| learn(&mut router, p.as_bytes())).collect();
        assert!(
            all.contains("/products/{param}/reviews") || all.contains("/products/{id}/reviews")
        );
        assert!(all.len() <= 8, "{all:?}");
        assert_eq!(learn(&mut router, b"/health"), "/health");
    }

    #[test]
    fn a_path_that_is_not_there_teaches_nothing() {
        let mut router = Router::new(200);
        assert_eq!(router.route(b"/wp-login.php", false), RouteId::UNSET);
        assert!(router.is_empty());
        let known = router.route(b"/users/1", true);
        assert_eq!(router.route(b"/users/999", false), known);
        assert_eq!(router.route(b"/users", false), RouteId::UNSET);
        assert_eq!(router.len(), 2);
    }

    #[test]
    fn beyond_the_limit_is_one_route() {
        assert_eq!(routes(0, &["/a"]), ["/**"]);
        assert_eq!(
            routes(3, &["/a", "/b", "/c", "/a", "/", "/b"]),
            ["/a", "/b", "/**", "/a", "/**", "/b"]
        );
    }

    #[test]
    fn literals_share_the_limit_and_nothing_else() {
        let mut router = Router::new(4);
        assert_eq!(router.literal("a/B", false), RouteId::UNSET);
        let first = router.literal("a/B", true);
        assert_eq!(&**router.name(first), "a/B");
        assert_eq!(learn(&mut router, b"/a/B"), "/a/B");
        let second = router.literal("/a/B", true);
        assert_eq!((router.len(), first == second), (4, false));
        assert_eq!(router.literal("c/D", true), RouteId::UNSET);
        assert_eq!(router.literal("a/B", false), first);
        assert_eq!(learn(&mut router, b"/c"), "/**");
    }

    /// Paths of the kind that break route inference: few or many bytes, deep, hostile.
    fn random_path(state: &mut u64) -> Vec<u8> {
        let mut next = |n: u64| {
            *state ^= *state << 13;
            *state ^= *state >> 7;
            *state ^= *state << 17;
            *state % n
        };
        let mut path = Vec::new();
        for _ in 0..next(12) {
            path.extend_from_slice(b"/");
            let word: [&[u8]; 8] = [
                b"users", b"{id}", b"{param}", b"**", b"*.js", b"1234", b"a.js", b"v1",
            ];
            match next(3) {
                0 => path.extend_from_slice(word[next(8) as usize]),
                1 => (0..next(30)).for_each(|_| {
                    path.push(b"abcxyzABZ0189-_.~@:;%{}*\xff\xc3 "[next(27) as usize])
                }),
                _ => (0..next(9)).for_each(|_| path.push(b'a' + next(26) as u8)),
            }
        }
        path
    }

    #[test]
    fn bounded_stable_idempotent_deterministic() {
        for max in [0, 1, 2, 10, 200, 1000] {
            let mut router = Router::new(max);
            let mut twin = Router::new(max);
            let mut given = HashSet::new();
            let mut first = std::collections::HashMap::new();
            let mut state = 88172645463325252 + max as u64;
            for i in 0..30_000 {
                let path = random_path(&mut state);
                let known = router.route(&path, false);
                let route = router.route(&path, true);
                assert_eq!(route, twin.route(&path, true));
                assert!(known == RouteId::UNSET || known == route);
                let text = router.name(route).clone();
                assert!(text.is_ascii() && !text.contains('%') && !text.contains(';'));
                if route != RouteId::UNSET {
                    assert_eq!(
                        router.route(text.as_bytes(), true),
                        route,
                        "{text} {max} {:?}",
                        String::from_utf8_lossy(&path)
                    );
                    given.insert(text);
                }
                if i % 7 == 0 {
                    first.insert(path, route);
                }
            }
            for (path, route) in first {
                assert_eq!(router.route(&path, true), route);
            }
            assert!(given.len() <= max.max(1), "{} routes of {max}", given.len());
            assert!(router.nodes.len() <= 1 + max * (MAX_DEPTH + 1));
        }
    }

    #[test]
    fn the_cache_gives_what_the_router_gives() {
        let mut cache = PathCache::default();
        let (mut a, mut b, mut plain) = (Router::new(50), Router::new(5), Router::new(50));
        let mut state = 42;
        for i in 0..50_000u32 {
            let path = random_path(&mut state);
            let learn = i % 3 != 0;
            assert_eq!(
                cache.route(1, &mut a, &path, learn).route,
                plain.route(&path, learn)
            );
            let _ = cache.route(2, &mut b, &path, learn);
        }
        assert!(b.len() <= 5);
    }
}
