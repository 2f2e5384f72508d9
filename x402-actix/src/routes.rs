//! The routes of actix-web: which one a request is on its way to, which one it reached, and whether a table's keys are
//! among them.

use std::{collections::BTreeMap, panic, str::Chars};

use actix_web::{
    HttpRequest,
    dev::{ResourceDef, ResourceMap},
};
use x402_core::gate::{ConfigError, RouteTable};

/// The route that a request is on its way to, as far as its path tells: guards are asked when actix-web routes it.
pub(crate) fn ahead(request: &HttpRequest) -> Option<String> {
    let (written, decoded) = (request.path(), request.match_info().as_str());
    let named = request.match_pattern();
    // What is not routed yet is named by the path as it was written, and will be routed by the decoded one.
    if written != decoded && named == request.resource_map().match_pattern(written) {
        return request.resource_map().match_pattern(decoded);
    }
    named
}

/// The route that a request reached; where it reached none, the one that its path names.
pub(crate) fn reached(request: &HttpRequest) -> Option<String> {
    let by_path = || request.resource_map().match_pattern(request.match_info().as_str());
    request.match_pattern().or_else(by_path)
}

/// The patterns of a table. Without any it fits nothing, and nothing is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Keys(BTreeMap<String, Key>);

#[derive(Debug)]
struct Key {
    /// As the table has it, with its method.
    name: String,
    definition: ResourceDef,
    /// Paths that it matches.
    samples: Vec<String>,
}

impl Keys {
    pub(crate) fn of(table: &RouteTable) -> Result<Self, ConfigError> {
        let mut keys = BTreeMap::new();
        for (method, pattern) in table.keys() {
            let name = method.map_or_else(|| pattern.to_owned(), |method| format!("{method} {pattern}"));
            let Some(key) = Key::new(&name, pattern) else { return Err(ConfigError::RouteKey(name)) };
            if key.samples.is_empty() {
                return Err(ConfigError::Unchecked { route: name });
            }
            keys.entry(pattern.to_owned()).or_insert(key);
        }
        Ok(Self(keys))
    }

    /// Whether a path matches one of the patterns.
    pub(crate) fn fits(&self, pattern: &str, path: &str) -> bool {
        self.0.get(pattern).is_some_and(|key| key.definition.is_match(path))
    }

    /// Every pattern is a route of the app's: what is misspelt would be given away.
    pub(crate) fn check(&self, routes: &ResourceMap) -> Result<(), ConfigError> {
        for (pattern, Key { name, samples, .. }) in &self.0 {
            let mut named = samples.iter().map(|sample| routes.match_pattern(sample));
            if !named.any(|route| route.as_deref() == Some(pattern)) {
                let nearest = samples.iter().find_map(|sample| routes.match_pattern(sample));
                return Err(ConfigError::NoSuchRoute { route: name.clone(), nearest });
            }
        }
        Ok(())
    }
}

impl Key {
    /// `None` where the pattern is none.
    fn new(name: &str, pattern: &str) -> Option<Self> {
        let pieces = pieces(pattern);
        let definition = definition(&pieces)?;
        let mut samples = samples(&pieces);
        samples.retain(|sample| definition.is_match(sample));
        Some(Self { name: name.to_owned(), definition, samples })
    }
}

/// A part of a pattern.
#[derive(Debug, PartialEq)]
enum Piece<'a> {
    Text(&'a str),
    /// What follows a parameter's name: `}`, or its regular expression `:\d+}`, or, at the end, `}*`.
    Parameter(&'a str),
}

fn pieces(pattern: &str) -> Vec<Piece<'_>> {
    let (mut pieces, mut rest) = (Vec::new(), pattern);
    while let Some((text, parameter)) = rest.find('{').map(|open| rest.split_at(open)) {
        let mut depth = 0_usize;
        let close = parameter.find(|letter| {
            depth = match letter {
                '{' => depth + 1,
                '}' => depth - 1,
                _ => depth,
            };
            depth == 0
        });
        let end = match close.map(|close| close + 1) {
            Some(end) if &parameter[end..] == "*" => parameter.len(),
            Some(end) => end,
            None => break,
        };
        let named = &parameter[..end];
        pieces.extend([Piece::Text(text), Piece::Parameter(&named[named.find([':', '}']).unwrap_or(0)..])]);
        rest = &parameter[end..];
    }
    pieces.push(Piece::Text(rest));
    pieces
}

/// Its parameters have names of our own: nested scopes may use one twice, which is no definition by itself.
fn definition(pieces: &[Piece<'_>]) -> Option<ResourceDef> {
    let pattern: String = pieces.iter().enumerate().fold(String::new(), |pattern, (at, piece)| match piece {
        Piece::Text(text) => pattern + text,
        Piece::Parameter(shape) => format!("{pattern}{{p{at}{shape}"),
    });
    // There is no other way to learn that a regular expression is none; an app with such a route panics as well.
    panic::catch_unwind(|| ResourceDef::new(pattern)).ok()
}

/// What parameters are tried with: many values, since an earlier route may take some.
fn values() -> Vec<String> {
    let letters = ["7391846205", "qxzjkvbwpm", "QXZJKVBWPM", "0a9f3e7c5b1d", "01ARZ3NDEKTSV4RRFFQ69G5FAV"];
    let runs =
        (1..=64).flat_map(|length| letters.map(|letters| letters.chars().cycle().take(length).collect()));
    let hashes = [40, 64].map(|length| format!("0x{}", "9f3e7c5b1d0a".repeat(6).split_at(length).0));
    VALUES.split_whitespace().map(str::to_owned).chain(hashes).chain(runs).collect()
}

const VALUES: &str = "x402 a Z a@b.c a_b a-b 1 42 2026 2026-01-31 1.0 v1 en abc EN en-US a.b x402/1 \
    0x209693Bc6afc0C5328bA36FaF03C514EF312287C 01234567-89ab-4cde-8f01-23456789abcd \
    0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// Paths that match a pattern, made of values that fit its parameters; none, if nothing fits one of them.
fn samples(pieces: &[Piece<'_>]) -> Vec<String> {
    let expressions = pieces.iter().filter_map(|piece| match piece {
        Piece::Parameter(shape) => {
            shape.strip_prefix(':')?.rsplit_once('}').map(|(expression, _)| expression)
        }
        Piece::Text(_) => None,
    });
    let words = expressions.flat_map(|expression| ["7q", "4x"].map(|ink| word(&mut expression.chars(), ink)));
    let values: Vec<String> = values().into_iter().chain(words).collect();
    let choices: Vec<Vec<&str>> = pieces.iter().map(|piece| choices(piece, &values)).collect();
    if choices.iter().any(Vec::is_empty) {
        return Vec::new();
    }
    let turns = choices.iter().map(Vec::len).max().unwrap_or(0);
    (0..turns).map(|turn| choices.iter().map(|choice| choice[turn % choice.len()]).collect()).collect()
}

/// A word that a regular expression may well take: of every choice the first, of every repetition the fewest. `ink` is a
/// digit and a letter, for what may be any. Whether it is taken is seen when it is tried.
fn word(expression: &mut Chars<'_>, ink: &str) -> String {
    let (digit, letter) = ink.split_at(1);
    let any = |class: char| match class {
        'd' => digit.to_owned(),
        'w' | 'S' | 'D' => letter.to_owned(),
        other => other.to_string(),
    };
    let mut word = String::new();
    while let Some(next) = expression.next() {
        let atom = match next {
            ')' => break,
            '|' => {
                let mut depth = 0_usize;
                expression.find(|next| {
                    depth = if *next == '(' { depth + 1 } else { depth };
                    *next == ')' && depth.checked_sub(1).map(|less| depth = less).is_none()
                });
                break;
            }
            '(' => {
                if expression.as_str().starts_with('?') {
                    expression.find(|next| [':', '>'].contains(next));
                }
                self::word(expression, ink)
            }
            '[' => {
                let class: String = expression.take_while(|next| *next != ']').collect();
                match class.chars().next() {
                    Some('^') | None => letter.to_owned(),
                    Some('\\') => any(class.chars().nth(1).unwrap_or('w')),
                    Some(first) => first.to_string(),
                }
            }
            '\\' => expression.next().map(any).unwrap_or_default(),
            '.' => letter.to_owned(),
            '^' | '$' | '?' | '*' | '+' => String::new(),
            literal => literal.to_string(),
        };
        let times = match expression.as_str().strip_prefix('{').and_then(|rest| rest.split_once('}')) {
            Some((times, rest)) => {
                *expression = rest.chars();
                times.split(',').next().and_then(|fewest| fewest.parse().ok()).unwrap_or(1).min(256)
            }
            None => 1,
        };
        word.push_str(&atom.repeat(times));
    }
    word
}

fn choices<'a>(piece: &Piece<'a>, values: &'a [String]) -> Vec<&'a str> {
    match piece {
        Piece::Text(text) => vec![*text],
        Piece::Parameter(shape) => {
            // The words of `{format:json|csv}` fit it, and the letters of `{size:[SML]}`.
            let words = shape.split(|letter: char| !letter.is_alphanumeric());
            let values = values.iter().map(String::as_str).chain(words).chain(shape.split(""));
            let fitting = definition(&[Piece::Parameter(shape)]);
            values.filter(|value| fitting.as_ref().is_some_and(|fitting| fitting.is_match(value))).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{
        App,
        rt::System,
        test::{TestRequest, call_and_read_body, init_service},
        web,
    };
    use x402_core::{gate::exact, network::BASE};

    use super::*;

    fn keys(pattern: &str) -> Result<Keys, ConfigError> {
        let charge = exact("$1").on(BASE).to("0x209693Bc6afc0C5328bA36FaF03C514EF312287C");
        Keys::of(&RouteTable::new().route(pattern, charge)?)
    }

    #[test]
    fn patterns_are_taken_apart() {
        use Piece::{Parameter, Text};
        for (pattern, expected) in [
            ("/a", vec![Text("/a")]),
            ("/{a}/b", vec![Text("/"), Parameter("}"), Text("/b")]),
            ("/{a}-{b}", vec![Text("/"), Parameter("}"), Text("-"), Parameter("}"), Text("")]),
            (
                r"/{a:\d{4}}/{b}*",
                vec![Text("/"), Parameter(r":\d{4}}"), Text("/"), Parameter("}*"), Text("")],
            ),
            ("/{a}*/b", vec![Text("/"), Parameter("}"), Text("*/b")]),
            ("/{", vec![Text("/{")]),
        ] {
            assert_eq!(pieces(pattern), expected, "{pattern}");
        }
    }

    #[test]
    fn a_path_is_made_up_for_a_pattern() {
        for (pattern, sample) in [
            ("/a", Some("/a")),
            ("/a/{b}/c", Some("/a/x402/c")),
            ("/{id}/in/{id}", Some("/x402/in/x402")),
            (r"/{year:\d{4}}/{month:\d{2}}", Some("/2026/42")),
            ("/{format:json|csv}", Some("/json")),
            ("/{size:[SML]}", Some("/S")),
            ("/{hash:0x[0-9a-fA-F]{40}}", Some("/0x209693Bc6afc0C5328bA36FaF03C514EF312287C")),
            ("/{rest}*", Some("/x402")),
            ("/{rest:.+/.+}", Some("/x402/1")),
            (r"/{zip:\d{5}}", Some("/73918")),
            ("/{ulid:[0-9A-Z]{26}}", Some("/73918462057391846205739184")),
            (
                "/{hash:0x[0-9a-f]{64}}",
                Some("/0x9f3e7c5b1d0a9f3e7c5b1d0a9f3e7c5b1d0a9f3e7c5b1d0a9f3e7c5b1d0a9f3e"),
            ),
            ("/{mail:[^@]+@[^@]+}", Some("/a@b.c")),
            (r"/{odd:\d{3}-[xyz]{7}}", Some("/777-xxxxxxx")),
            (r"/{file:.+\.json}", Some("/q.json")),
            (r"/{image:[^/]+\.(jpg|png)}", Some("/q.jpg")),
            (r"/{version:v\d+\.\d+}", Some("/v7.7")),
            (r"/{range:\d+-\d+}", Some("/7-7")),
            ("/{pair:[A-Z]{3}-[A-Z]{3}}", Some("/AAA-AAA")),
            (r"/{user:@\w+}", Some("/@q")),
            (r"/{name:(?:a|(b|c))x(y)?z}", Some("/axyz")),
            (r"/{none:a\bb}", None),
        ] {
            let Some(sample) = sample else {
                assert!(matches!(keys(pattern), Err(ConfigError::Unchecked { .. })), "{pattern}");
                continue;
            };
            let keys = keys(pattern).unwrap();
            assert_eq!(keys.0[pattern].samples[0], sample, "{pattern}");
            assert!(keys.0[pattern].samples.iter().all(|sample| keys.fits(pattern, sample)), "{pattern}");
        }
    }

    #[test]
    fn what_actix_web_cannot_read_is_no_route() {
        for pattern in ["/{a:[}", "/{a:(}", r"/{a:\d}*"] {
            assert!(matches!(keys(pattern), Err(ConfigError::RouteKey(_))), "{pattern}");
        }
    }

    #[test]
    fn keys_are_held_against_the_routes() {
        let check = async |request: HttpRequest| {
            let key = request.headers().get("key").unwrap().to_str().unwrap();
            match keys(key).unwrap().check(request.resource_map()) {
                Ok(()) => "a route".to_owned(),
                Err(ConfigError::NoSuchRoute { nearest: Some(nearest), .. }) => nearest,
                Err(_) => "none".to_owned(),
            }
        };
        let app = App::new()
            .route("/weather/{city}", web::get())
            .service(web::resource(["/a", "/b"]))
            .service(web::scope("/api/{id}").service(web::resource(r"/{id:\d+}")).route("", web::get()))
            .route("/files/{name}", web::get())
            .route("/files/{rest}*", web::get())
            .default_service(web::to(check));
        System::new().block_on(async {
            let app = init_service(app).await;
            for (key, expected) in [
                ("/weather/{city}", "a route"),
                ("/weather/{town}", "/weather/{city}"),
                ("/weather/:city", "/weather/{city}"),
                ("/weather", "none"),
                ("/weather/{city}/", "none"),
                ("/a", "a route"),
                ("/b", "/a"),
                ("/api/{id}", "a route"),
                (r"/api/{id}/{id:\d+}", "a route"),
                ("/api/{id}/{id}", r"/api/{id}/{id:\d+}"),
                ("/{id}", "/a"),
                ("/files/{name}", "a route"),
                ("/files/{rest}*", "a route"),
            ] {
                let request = TestRequest::default().insert_header(("key", key)).to_request();
                assert_eq!(call_and_read_body(&app, request).await, expected, "{key}");
            }
        });
    }
}
