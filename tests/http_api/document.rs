//! What `docs/openapi.json` says, and whether the sources and their answers say the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use bytes::Bytes;
use hyper::{Method, Response, StatusCode};
use serde_json::{Map, Value};

use super::group::Group;

pub struct Document(Value);

impl Document {
    pub fn read() -> Document {
        Document(serde_json::from_str(include_str!("../../docs/openapi.json")).unwrap())
    }

    pub fn value(&self) -> &Value {
        &self.0
    }

    pub fn schema(&self, name: &str) -> &Value {
        &self.0["components"]["schemas"][name]
    }

    /// Method in small letters, path, and what is said of them.
    pub fn operations(&self) -> Vec<(&str, &str, &Value)> {
        let paths = self.0["paths"].as_object().unwrap();
        let operations = paths.iter().flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap();
            methods
                .iter()
                .map(|(method, operation)| (method.as_str(), path.as_str(), operation))
        });
        operations.collect()
    }

    /// Fails unless the document describes this answer: its path, method, status, kind of content, and every field.
    #[track_caller]
    pub fn check(&self, method: &Method, path: &str, response: &Response<Bytes>) {
        let status = response.status().as_u16().to_string();
        let asked = format!("{method} {path}: {status}");
        let path = path.split('?').next().unwrap();
        let Some(described) = self.path(path) else {
            let body: Value = serde_json::from_slice(response.body()).unwrap();
            assert_eq!(body["code"], "not-found", "{asked} {body}");
            return self.conforms_to_problem(&asked, &body);
        };
        let wanted = match method.as_str() {
            "HEAD" => "get".to_owned(),
            other => other.to_lowercase(),
        };
        // Where no method is refused, what is said of GET holds for all; a refused method is told alike by all.
        let mut others = described.as_object().unwrap().values();
        let first = described.get("get").or(others.next_back()).unwrap();
        let takes_all = first["responses"]["405"].is_null();
        let operation = match described.get(&wanted) {
            Some(operation) => operation,
            None if takes_all || status == "405" => first,
            None => panic!("{asked}, and the document knows no such method"),
        };
        let said = &operation["responses"][&status];
        assert!(said.is_object(), "{asked} is not in the document");
        let kind = response.headers()["content-type"].to_str().unwrap();
        let kind = kind.split(';').next().unwrap();
        let schema = &said["content"][kind]["schema"];
        assert!(schema.is_object(), "{asked}: {kind} is not in the document");
        if method == Method::HEAD {
            return;
        }
        let text = String::from_utf8(response.body().to_vec()).unwrap();
        let body = match kind {
            "text/plain" | "application/openmetrics-text" => Value::String(text),
            _ => serde_json::from_str(&text).unwrap(),
        };
        if let Err(why) = self.conforms(schema, &body, "") {
            panic!("{asked}: {why} in {body:#}");
        }
        if let Some(code) = body["code"].as_str() {
            let codes = said["description"].as_str().unwrap();
            assert!(codes.contains(code), "{asked}: {code} is not in {codes}");
        }
    }

    fn conforms_to_problem(&self, asked: &str, body: &Value) {
        if let Err(why) = self.conforms(self.schema("Problem"), body, "") {
            panic!("{asked}: {why} in {body:#}");
        }
    }

    /// What is said of a path, the names in it filled in.
    fn path(&self, path: &str) -> Option<&Value> {
        let parts: Vec<_> = path.split('/').collect();
        let fits = |template: &str| {
            let template: Vec<_> = template.split('/').collect();
            let same = |(a, b): (&&str, &&str)| a == b || a.starts_with('{');
            // A key holds slashes.
            let is_key = template.last() == Some(&"{key}") && template.len() <= parts.len();
            let is_as_long = template.len() == parts.len() || is_key;
            is_as_long && template.iter().zip(&parts).all(same)
        };
        let paths = self.0["paths"].as_object().unwrap();
        let found = paths.iter().find(|(template, _)| fits(template));
        found.map(|(_, described)| described)
    }

    /// The part of JSON Schema that the document uses. A field that is not described is wrong, too.
    fn conforms(&self, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            return self.conforms(self.schema(name), value, at);
        }
        if let Some(expected) = schema.get("const") {
            return wanted(expected == value, at, "another constant");
        }
        if let Some(known) = schema["enum"].as_array() {
            wanted(known.contains(value), at, "an unknown word")?;
        }
        let types = match &schema["type"] {
            Value::Array(types) => types.clone(),
            one => vec![one.clone()],
        };
        wanted(types.contains(&type_of(value)), at, "of another type")?;
        if let (Some(least), Some(found)) = (schema["minimum"].as_u64(), value.as_u64()) {
            wanted(found >= least, at, "too small")?;
        }
        match value {
            Value::Array(items) => items
                .iter()
                .try_for_each(|item| self.conforms(&schema["items"], item, &format!("{at}[]"))),
            Value::Object(fields) if schema["properties"].is_object() => {
                self.fields_conform(schema, fields, at)
            }
            _ => Ok(()),
        }
    }

    fn fields_conform(
        &self,
        schema: &Value,
        fields: &Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        for required in schema["required"].as_array().into_iter().flatten() {
            let required = required.as_str().unwrap();
            let at = format!("{at}.{required}");
            wanted(fields.contains_key(required), &at, "missing")?;
        }
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            let described = schema["properties"].get(name);
            let described = described.ok_or_else(|| format!("{at} is not described"))?;
            self.conforms(described, value, &at)?;
        }
        Ok(())
    }
}

fn wanted(holds: bool, at: &str, otherwise: &str) -> Result<(), String> {
    match holds {
        true => Ok(()),
        false => Err(format!("{at} is {otherwise}")),
    }
}

fn type_of(value: &Value) -> Value {
    let name = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    name.into()
}

/// Every status with its code that the sources name, but for what is not for people.
fn problems() -> BTreeSet<(u16, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/http");
    let mut found = BTreeSet::new();
    for file in fs::read_dir(folder).unwrap().flatten() {
        let path = file.path();
        if !path.is_file() || path.ends_with("internal.rs") || path.ends_with("enrol.rs") {
            continue;
        }
        let text = fs::read_to_string(path).unwrap();
        for after in text.split("StatusCode::").skip(1) {
            let end = after.find(|c: char| !c.is_ascii_uppercase() && c != '_');
            let (name, rest) = after.split_at(end.unwrap_or(0));
            let code = rest.strip_prefix(',').map(str::trim_start);
            let code = code.and_then(|code| code.strip_prefix('"')?.split('"').next());
            if let Some(code) = code {
                found.insert((number(name), code.to_owned()));
            }
        }
    }
    found
}

fn number(name: &str) -> u16 {
    let reason = |number: &u16| {
        let reason = StatusCode::from_u16(*number).ok()?.canonical_reason()?;
        Some(reason.to_uppercase().replace([' ', '-'], "_"))
    };
    let found = (400..600).find(|number| reason(number).as_deref() == Some(name));
    found.unwrap_or_else(|| panic!("{name} is no status"))
}

#[test]
fn every_problem_of_the_sources_is_in_the_document() {
    let document = Document::read();
    let problems = problems();
    let known: BTreeSet<_> = problems.iter().map(|(_, code)| code.as_str()).collect();
    let listed = document.schema("Problem")["properties"]["code"]["enum"].clone();
    let listed: Vec<String> = serde_json::from_value(listed).unwrap();
    let listed: BTreeSet<_> = listed.iter().map(String::as_str).collect();
    assert_eq!(known, listed);
    for (status, code) in &problems {
        let says = |said: &Value| {
            let said = said["description"].as_str().unwrap_or_default();
            said.split_whitespace().any(|word| word == code)
        };
        let operations = document.operations();
        let somewhere = operations
            .iter()
            .any(|(_, _, operation)| says(&operation["responses"][status.to_string()]));
        // The one that no path has.
        let is_elsewhere = code == "not-found";
        assert!(somewhere || is_elsewhere, "{status} {code} is nowhere");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_openapi_document_and_the_routes_are_the_same() {
    let group = Group::start().await;
    let document = Document::read();
    let (_, served) = group.get(1, "/api/v1/openapi.json").await;
    assert_eq!(served, *document.value());
    assert_eq!(served["openapi"], "3.1.0");
    let operations = document.operations();
    let described: BTreeSet<_> = operations
        .iter()
        .map(|(method, path, _)| (*method, *path))
        .collect();
    let routed = primacy::http::ROUTES.iter();
    // The document has no word for one that takes the rest of a path.
    let routed: Vec<_> = routed
        .map(|(method, path)| (*method, path.replace("{*", "{")))
        .collect();
    let routed: BTreeSet<_> = routed
        .iter()
        .map(|(method, path)| (*method, path.as_str()))
        .collect();
    assert_eq!(described, routed);
    for (method, path, operation) in &operations {
        let method = method.to_uppercase().parse::<Method>().unwrap();
        let path = path
            .replace("{cluster}", "none")
            .replace("{peer}", "9")
            .replace("{instance}", "none")
            .replace("{name}", "none")
            .replace("{key}", "none/none")
            .replace("{code}", "503");
        let response = group.call(1, method.clone(), &path, "").await;
        let body: Value = serde_json::from_slice(response.body()).unwrap_or_default();
        let is_answered = response.status() != 405 && body["code"] != "not-found";
        assert!(is_answered, "{path}: {} {body}", response.status());
        // What the document does not know is refused, or, by a health check, answered like any other.
        for other in [Method::DELETE, Method::HEAD, Method::OPTIONS] {
            group.call(1, other, &path, "").await;
        }
        // The parameters are those of the document.
        let parameters = operation["parameters"].as_array();
        let consistency = parameters
            .into_iter()
            .flatten()
            .find(|it| it["name"] == "consistency");
        if let Some(consistency) = consistency {
            for known in consistency["schema"]["enum"].as_array().unwrap() {
                let path = format!("{path}?consistency={}", known.as_str().unwrap());
                assert_ne!(group.get(1, &path).await.0, 400, "{path}");
            }
        }
        if method == Method::GET {
            let (status, _) = group.get(1, &format!("{path}?consistency=other")).await;
            assert_eq!(status == 400, consistency.is_some(), "{path}");
        }
    }
    assert_eq!(group.get(1, "/api/v1/nothing").await.1["code"], "not-found");
}
