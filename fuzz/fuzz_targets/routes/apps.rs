//! Random apps with random prices, and random requests for them, in the words of any framework.

use std::fmt;

use http::Method;
use x402_core::{
    gate::{Charge, RouteTable, exact},
    network::BASE_SEPOLIA,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framework {
    Axum,
    Actix,
    Poem,
    Tower,
}
use Framework::{Actix, Axum, Poem, Tower};

#[derive(Debug)]
pub struct App {
    pub framework: Framework,
    pub root: Group,
    pub handlers: Vec<Handler>,
    /// actix-web: normalises paths inside of the gate, or outside.
    pub trims: [bool; 2],
}

/// A router, a scope.
#[derive(Debug)]
pub struct Group {
    pub path: String,
    pub way: Way,
    pub guarded: bool,
    pub nodes: Vec<Node>,
    pub fallback: Option<usize>,
    pub table: Option<Table>,
    pub charged: bool,
}

/// A table, and what it is made of.
#[derive(Clone)]
pub struct Table(pub RouteTable, pub Vec<String>);

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.1.fmt(f)
    }
}

/// How a group is put into another: all ways are one in actix-web and tower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    Nested,
    /// As a service, which does not show its routes.
    Service,
    /// Called by a route's handler, with the request as it came.
    Dispatched,
    /// axum: without a prefix. Elsewhere it is nested.
    Merged,
}

#[derive(Debug)]
pub enum Node {
    Route(Route),
    Group(Group),
}

#[derive(Debug)]
pub struct Route {
    /// The first names it.
    pub paths: Vec<String>,
    /// The handlers of a method, or of all.
    pub handlers: Vec<(Option<Method>, usize)>,
    /// Whether a charge stands on it: only on its first handler, or on all of them.
    pub charged: Option<Charged>,
    /// actix-web: whether it is the router that looks at the method.
    pub guarded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Charged {
    First,
    All,
}

#[derive(Debug)]
pub struct Handler {
    /// The whole of its pattern, from which requests are made.
    written: String,
    /// Whatever may charge for it, and of a table the lines on it.
    rules: Vec<Vec<(Option<Method>, bool)>>,
    pub is_fallback: bool,
}

impl Handler {
    /// Whether the configuration charges for it: of each table the first line that takes the method counts.
    pub fn costs(&self, method: &Method) -> bool {
        let takes = |key: &Option<Method>| match key {
            Some(key) => key == method || (key == Method::GET && method == Method::HEAD),
            None => true,
        };
        let first =
            |lines: &Vec<(_, bool)>| lines.iter().find(|(key, _)| takes(key)).map(|(_, costs)| *costs);
        self.rules.iter().any(|lines| first(lines) == Some(true))
    }
}

impl App {
    /// Whether actix-web's router asks more than the path.
    pub fn has_guards(&self) -> bool {
        let guarded = |node: &Node| matches!(node, Node::Route(route) if route.guarded);
        self.any(|group| group.guarded || group.nodes.iter().any(guarded))
    }

    /// Whether a table says of a route that it is free.
    pub fn has_free_lines(&self) -> bool {
        let is_free = |table: &Table| table.1.iter().any(|line| line.starts_with("free"));
        self.any(|group| group.table.as_ref().is_some_and(is_free))
    }

    /// Whether a route has paths that do not name it.
    pub fn has_aliases(&self) -> bool {
        let aliased = |node: &Node| matches!(node, Node::Route(route) if route.paths.len() > 1);
        self.any(|group| group.nodes.iter().any(aliased))
    }

    /// Whether a group fits, this one or one below it.
    pub fn any(&self, fits: impl Fn(&Group) -> bool) -> bool {
        fn any(group: &Group, fits: &dyn Fn(&Group) -> bool) -> bool {
            fits(group)
                || group.nodes.iter().any(|node| matches!(node, Node::Group(group) if any(group, fits)))
        }
        any(&self.root, &fits)
    }
}

impl Group {
    fn handlers(&self) -> Vec<usize> {
        let below = self.nodes.iter().flat_map(|node| match node {
            Node::Route(route) => route.handlers.iter().map(|(_, handler)| *handler).collect(),
            Node::Group(group) => group.handlers(),
        });
        below.chain(self.fallback).collect()
    }

    /// What a table on this group may list, with the handlers behind it.
    fn listed(&self, framework: Framework, above: &str) -> Vec<(String, Vec<usize>)> {
        let listed = self.nodes.iter().flat_map(|node| match node {
            Node::Route(route) => {
                let handlers = route.handlers.iter().map(|(_, handler)| *handler);
                vec![(joined(framework, above, &route.paths[0]), handlers.collect())]
            }
            Node::Group(group) => match (framework, group.way) {
                (Axum, Way::Merged) => group.listed(framework, above),
                (Axum | Poem, Way::Dispatched) => {
                    vec![(joined(framework, above, &group.path), group.handlers())]
                }
                (Axum | Poem, Way::Service) => vec![],
                (Poem, _) if group.is_made() => vec![],
                _ => group.listed(framework, &joined(framework, above, &group.path)),
            },
        });
        listed.collect()
    }

    /// Whether it must be made before it can be put into another, in poem.
    pub fn is_made(&self) -> bool {
        self.charged || self.table.is_some()
    }
}

pub fn cent() -> Charge {
    exact("$0.01").on(BASE_SEPOLIA).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C")
}

/// The pattern of what stands at a path below a prefix.
pub fn joined(framework: Framework, prefix: &str, path: &str) -> String {
    match framework {
        Actix => format!("{prefix}{path}"),
        Poem => {
            let segments = |path: &str| -> String {
                path.split('/').filter(|part| !part.is_empty()).map(|part| format!("/{part}")).collect()
            };
            let end = if path.ends_with('/') || segments(path).is_empty() { "/" } else { "" };
            segments(prefix) + &segments(path) + end
        }
        Axum | Tower if prefix.is_empty() => path.to_owned(),
        Axum | Tower if prefix.ends_with('/') => prefix.to_owned() + path.trim_start_matches('/'),
        Axum | Tower if path == "/" => prefix.to_owned(),
        Axum | Tower => format!("{prefix}{path}"),
    }
}

pub struct Maker<'a> {
    bytes: &'a [u8],
    seed: Option<u64>,
    framework: Framework,
    handlers: Vec<Handler>,
}

impl<'a> Maker<'a> {
    /// A short input is the seed of a long one: `-max_len=8` needs no corpus.
    pub fn new(bytes: &'a [u8]) -> Self {
        let mix = |seed: u64, byte: &u8| (seed ^ u64::from(*byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let seed = (bytes.len() <= 8).then(|| bytes.iter().fold(0x5EED, mix) | 1);
        Self { bytes, seed, framework: Axum, handlers: Vec::new() }
    }

    fn below(&mut self, bound: usize) -> usize {
        if let Some(seed) = &mut self.seed {
            *seed ^= *seed << 13;
            *seed ^= *seed >> 7;
            *seed ^= *seed << 17;
            return (*seed >> 11) as usize % bound;
        }
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        usize::from(*first) % bound
    }

    /// Less often than not, and never when the input is at its end.
    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == bound - 1
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }

    pub fn app(&mut self) -> App {
        self.framework = self.pick(&[Axum, Actix, Poem, Tower]);
        let root = self.group(String::new(), Way::Nested, 2, "", 0);
        let trims = [self.one_in(6), self.one_in(6)];
        App { framework: self.framework, root, handlers: std::mem::take(&mut self.handlers), trims }
    }

    fn group(&mut self, path: String, way: Way, depth: usize, above: &str, level: usize) -> Group {
        let nodes = (0..=self.below(4)).map(|_| self.node(depth, above, level)).collect();
        let fallback = matches!(self.framework, Axum | Actix) && way != Way::Merged && self.one_in(3);
        let fallback = fallback.then(|| self.handler(&joined(self.framework, above, "/no/where"), true));
        let guarded = level > 0 && self.one_in(4);
        let mut group = Group { path, way, guarded, nodes, fallback, table: None, charged: false };
        if self.one_in(if level == 0 { 2 } else { 4 }) && (level == 0 || self.framework != Tower) {
            group.table = self.table(&group, if self.framework == Actix { above } else { "" });
        }
        group.charged = self.one_in(10);
        if group.charged {
            self.charge(&group.handlers(), &[(None, true)]);
        }
        group
    }

    fn node(&mut self, depth: usize, above: &str, level: usize) -> Node {
        if depth > 0 && self.one_in(3) {
            let way = self.pick(&[Way::Nested, Way::Service, Way::Dispatched, Way::Merged]);
            let stripped = !(way == Way::Dispatched && matches!(self.framework, Axum | Poem))
                && !(way == Way::Merged && self.framework == Axum);
            let path = self.path(1, 2, level, stripped);
            let below = if stripped { joined(self.framework, above, &path) } else { above.to_owned() };
            return Node::Group(self.group(path, way, depth - 1, &below, level + 2));
        }
        let mut paths = vec![self.path(0, 3, level, false)];
        if self.framework == Actix && self.one_in(6) {
            paths.push(self.path(0, 3, level, false));
        }
        let methods: &[Option<Method>] = match self.below(5) {
            0 => &[Some(Method::GET)],
            1 => &[Some(Method::POST)],
            2 => &[Some(Method::GET), Some(Method::POST)],
            _ => &[None],
        };
        let pattern = joined(self.framework, above, &paths[0]);
        let handlers: Vec<_> =
            methods.iter().map(|method| (method.clone(), self.handler(&pattern, false))).collect();
        let charged = match self.below(8) {
            7 if matches!(self.framework, Axum | Poem) => Some(Charged::First),
            6 | 7 => Some(Charged::All),
            _ => None,
        };
        let paid: Vec<_> = handlers.iter().map(|(_, handler)| *handler).collect();
        match charged {
            Some(Charged::First) => self.charge(&paid[..1], &[(None, true)]),
            Some(Charged::All) => self.charge(&paid, &[(None, true)]),
            None => {}
        }
        let guarded = methods.len() == 1 && methods[0].is_some() && self.one_in(2);
        Node::Route(Route { paths, handlers, charged, guarded })
    }

    fn handler(&mut self, written: &str, is_fallback: bool) -> usize {
        self.handlers.push(Handler { written: written.to_owned(), rules: Vec::new(), is_fallback });
        self.handlers.len() - 1
    }

    fn charge(&mut self, handlers: &[usize], lines: &[(Option<Method>, bool)]) {
        for handler in handlers {
            self.handlers[*handler].rules.push(lines.to_vec());
        }
    }

    /// A table over some routes of the group; none, if it would charge for nothing.
    fn table(&mut self, group: &Group, above: &str) -> Option<Table> {
        let listed = group.listed(self.framework, above);
        let (mut table, mut lines) = (Table(RouteTable::new(), Vec::new()), Vec::new());
        for _ in 0..=self.below(3) {
            let Some(at) = (!listed.is_empty()).then(|| self.below(listed.len())) else { break };
            let method = self.pick(&[None, None, Some(Method::GET), Some(Method::POST), Some(Method::HEAD)]);
            let costs = !self.one_in(4);
            let pattern = &listed[at].0;
            let key = method.as_ref().map_or_else(|| pattern.clone(), |method| format!("{method} {pattern}"));
            let next = table.0.clone();
            if let Ok(next) = if costs { next.route(&key, cent()) } else { next.free(&key) } {
                table.0 = next;
                table.1.push(format!("{} {key}", if costs { "charge" } else { "free" }));
                lines.push((pattern.clone(), (method, costs)));
            }
        }
        if !lines.iter().any(|(_, (_, costs))| *costs) {
            return None;
        }
        for (pattern, handlers) in &listed {
            let on_it = lines.iter().filter(|(key, _)| key == pattern).map(|(_, line)| line.clone());
            self.charge(handlers, &on_it.collect::<Vec<_>>());
        }
        if self.one_in(2) {
            table.0 = table.0.unrouted_is_free();
            table.1.push("unrouted is free".to_owned());
        }
        Some(table)
    }

    fn path(&mut self, least: usize, most: usize, level: usize, is_prefix: bool) -> String {
        let segments = least + self.below(most - least + 1);
        let mut path = String::new();
        for at in 0..segments {
            let is_rest = !is_prefix && at + 1 == segments && self.one_in(6);
            path += if self.framework == Poem && self.one_in(12) { "//" } else { "/" };
            path += &self.segment(level + at, is_prefix, is_rest);
        }
        if (path.is_empty() && !(self.framework == Actix && level > 0)) || self.one_in(10) {
            path.push('/');
        }
        path
    }

    fn segment(&mut self, level: usize, is_prefix: bool, is_rest: bool) -> String {
        let name = format!("{}{level}", self.pick(&["x", "x", "y"]));
        let shapes: &[&str] = match self.framework {
            Axum | Tower if is_rest => &["{*x}"],
            Actix if is_rest => &["{x}*", "{x:.*}"],
            Poem if is_rest => &["*x"],
            // axum strips no other prefixes, and poem takes none.
            Axum if is_prefix => &["a", "b", "{x}", "é"],
            Poem if is_prefix => &["a", "b", "é"],
            Axum | Tower => &["a", "b", "{x}", "{x}", "{x}", "a{x}", "é", "{{a}}"],
            Actix => &["a", "b", "{x}", "{x}", "{x:[ab]+}", "a{x}", "é", "{x}-{y}"],
            Poem => &["a", "b", ":x", ":x", ":x<[ab]+>", "a:x", "é", "<[ab]>"],
        };
        let shape = self.pick(shapes);
        shape.replace('x', &name).replace("{y}", &format!("{{z{level}}}"))
    }

    /// A request for one of the handlers, in some spelling; `None`, if it is no request.
    pub fn request(&mut self, app: &App) -> Option<http::Request<()>> {
        const VALUES: &[&str] =
            &["a", "b", "a", "b", "ab", "7", "%61", "é", "%C3%A9", "", "%2F", "a%2Fb", "%ff", "{a}", ".."];
        let written = app.handlers[self.below(app.handlers.len())].written.clone();
        let mut path = String::new();
        for segment in written.split('/').skip(1) {
            path.push('/');
            match segment.find(['{', ':', '<', '*']) {
                Some(_) if segment.contains('*') => {
                    path += self.pick(&["a", "a/b", "b/a", "", "x/y/", "%2F"]);
                }
                Some(at) => {
                    path += &segment[..at];
                    path += self.pick(VALUES);
                    path += if segment.contains("}-{") { "-b" } else { "" };
                }
                None => path += segment,
            }
        }
        for _ in 0..self.below(4) {
            path = self.respelt(path);
        }
        path += self.pick(&["", "", "", "?g", "?x=/a", "?"]);
        let method = self.pick(&["GET", "GET", "POST", "HEAD", "PUT", "OPTIONS", "X"]);
        let target = if self.one_in(20) { format!("http://shop.example.com{path}") } else { path };
        http::Request::builder().method(method).uri(target).body(()).ok()
    }

    fn respelt(&mut self, mut path: String) -> String {
        let places: Vec<(usize, char)> = path.char_indices().collect();
        let (at, letter) = if places.is_empty() { (0, '/') } else { self.pick(&places) };
        let end = (at + letter.len_utf8()).min(path.len());
        let mut bytes = [0; 4];
        let encoded: String =
            letter.encode_utf8(&mut bytes).bytes().map(|byte| format!("%{byte:02X}")).collect();
        match self.below(9) {
            0 | 1 => path.replace_range(at..end, &encoded),
            2 => path.insert(at, '/'),
            3 => path.insert_str(at, self.pick(&["/.", "/..", "/%2e", "."])),
            4 => path.replace_range(at..end, &letter.to_uppercase().to_string()),
            5 => path.push('/'),
            6 => path += self.pick(&["/a", "/b", "/é"]),
            7 => path.replace_range(at..end, ""),
            _ => path.insert_str(at, self.pick(&["%", "%00", "%25", ";", "{", "}", ":", "*", "+", "\\"])),
        }
        path
    }

    pub fn is_done(&self) -> bool {
        self.seed.is_none() && self.bytes.is_empty()
    }
}
