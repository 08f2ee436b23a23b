//! Another place in the same connection string: user, password, TLS and names stay as they were written.

use std::ops::Range;

use super::uri::{Layout, authority, encoded, scheme};
use super::{Conninfo, Form, NOWHERE, keyword};
use crate::model::Address;

/// What stands before each host of a standby that is detached. It makes a folder of sockets of it that nobody has, so
/// that nothing is asked of any name server and the receiver finds nobody; and it can be taken off again.
const DETACHED: &str = "/primacy-detached/";

/// The lists that say where a connection string leads; none to leave the option out.
struct Lists {
    host: Option<String>,
    hostaddr: Option<String>,
    port: Option<String>,
}

impl Conninfo {
    /// The same for one other place.
    pub fn redirected(&self, to: &Address) -> String {
        self.leading_to(&Lists {
            host: Some(to.host.clone()),
            // Or it would lead to the old place whatever the host says.
            hostaddr: None,
            port: Some(to.port.to_string()),
        })
    }

    /// Whether [`Conninfo::detached`] made it.
    pub fn is_detached(&self) -> bool {
        let hosts = self.get("host").unwrap_or_default();
        hosts.starts_with(DETACHED)
    }

    /// The same, leading nowhere until [`Conninfo::reattached`]; unchanged if it does already.
    pub fn detached(&self) -> String {
        if self.is_detached() {
            return self.text.clone();
        }
        let marked = |list: &str| {
            let parts = list.split(',').map(|part| format!("{DETACHED}{part}"));
            parts.collect::<Vec<_>>().join(",")
        };
        let addresses = self.get("hostaddr").filter(|it| !it.is_empty());
        let mut hosts = self.get("host").unwrap_or_default().to_owned();
        if let Some(addresses) = addresses
            && hosts.is_empty()
        {
            // As many as there are addresses, each without a name.
            hosts = ",".repeat(addresses.matches(',').count());
        }
        self.leading_to(&Lists {
            host: Some(marked(&hosts)),
            hostaddr: addresses.map(marked),
            port: self.get("port").map(str::to_owned),
        })
    }

    /// The same, leading to where it did before [`Conninfo::detached`]; unchanged if it leads somewhere.
    pub fn reattached(&self) -> String {
        if !self.is_detached() {
            return self.text.clone();
        }
        let plain = |list: &str| {
            let parts = list.split(',');
            let parts = parts.map(|part| part.strip_prefix(DETACHED).unwrap_or(part));
            parts.collect::<Vec<_>>().join(",")
        };
        let hosts = plain(self.get("host").unwrap_or_default());
        let addresses = self.get("hostaddr").map(plain);
        // Beside addresses, hosts without a name say nothing.
        let says = match &addresses {
            Some(_) => hosts.contains(|c| c != ','),
            None => !hosts.is_empty(),
        };
        self.leading_to(&Lists {
            host: says.then_some(hosts),
            hostaddr: addresses,
            port: self.get("port").map(str::to_owned),
        })
    }

    fn leading_to(&self, lists: &Lists) -> String {
        match &self.form {
            Form::Keywords => self.with_keywords(lists),
            Form::Uri(layout) => self.with_authority(layout, lists),
        }
    }

    fn with_keywords(&self, lists: &Lists) -> String {
        let mut changes: Vec<(Range<usize>, String)> = vec![];
        let mut missing = String::new();
        for (name, wanted) in lists.named() {
            let mut all = self.options.iter().filter(|it| it.name == name).rev();
            let Some(wanted) = wanted else {
                let removed = all.map(|it| (self.and_spaces(&it.whole), String::new()));
                changes.extend(removed);
                continue;
            };
            // Of several the last counts.
            match all.next() {
                Some(setting) if setting.value == wanted => {}
                Some(setting) => {
                    let as_written = &self.text[setting.value_at.clone()];
                    let value = keyword::written(wanted, as_written.starts_with('\''));
                    changes.push((setting.value_at.clone(), value));
                }
                None => {
                    missing.push_str(&format!("{name}={} ", keyword::written(wanted, false)));
                }
            }
        }
        // In front: at the end a last backslash would take it for its own.
        changes.push((NOWHERE, missing));
        let text = self.changed(changes);
        // What stood in front of an odd name kept it from being read as a URI.
        match scheme(&text) {
            Some(_) => format!(" {text}"),
            None => text,
        }
    }

    /// With the spaces that follow it.
    fn and_spaces(&self, whole: &Range<usize>) -> Range<usize> {
        let rest = self.text[whole.end..].bytes();
        let spaces = rest.take_while(|byte| super::is_space(*byte)).count();
        whole.start..whole.end + spaces
    }

    fn with_authority(&self, layout: &Layout, lists: &Lists) -> String {
        let (hosts, mut ports) = (parts(lists.host.as_deref()), parts(lists.port.as_deref()));
        let mut added: Vec<String> = vec![];
        if let [only] = ports.as_slice() {
            ports = vec![only; hosts.len().max(1)];
        } else if !ports.is_empty() && ports.len() != hosts.len().max(1) {
            // It fits no host one by one: wrong, and it stays as wrong as it was.
            added.push(format!("port={}", encoded(&ports.join(","))));
            ports.clear();
        }
        if let Some(address) = &lists.hostaddr {
            added.push(format!("hostaddr={}", encoded(address)));
        }
        let of_places = |name: &str| lists.named().iter().any(|(known, _)| *known == name);
        let kept = self.options.iter().filter(|it| it.whole != NOWHERE);
        let kept = kept.filter(|it| !of_places(&it.name));
        let mut query: Vec<&str> = kept.map(|it| &self.text[it.whole.clone()]).collect();
        query.extend(added.iter().map(String::as_str));
        let query = match query.is_empty() {
            true => String::new(),
            false => format!("?{}", query.join("&")),
        };
        // An `@` without a path before it would end a user's name.
        let has_path = layout.hosts.end < layout.query.start;
        let query = match !has_path && query.contains('@') {
            true => format!("/{query}"),
            false => query,
        };
        self.changed(vec![
            (layout.hosts.clone(), authority(&hosts, &ports)),
            (layout.query.clone(), query),
        ])
    }

    /// The text with these parts replaced; they do not overlap.
    fn changed(&self, mut changes: Vec<(Range<usize>, String)>) -> String {
        changes.sort_by_key(|(at, _)| (at.start, at.end));
        let mut text = String::with_capacity(self.text.len());
        let mut from = 0;
        for (at, new) in changes {
            text.push_str(&self.text[from..at.start]);
            text.push_str(&new);
            from = at.end;
        }
        text.push_str(&self.text[from..]);
        text
    }
}

impl Lists {
    fn named(&self) -> [(&'static str, Option<&str>); 3] {
        [
            ("host", self.host.as_deref()),
            ("hostaddr", self.hostaddr.as_deref()),
            ("port", self.port.as_deref()),
        ]
    }
}

fn parts(list: Option<&str>) -> Vec<&str> {
    let list = list.filter(|list| !list.is_empty());
    list.map_or_else(Vec::new, |it| it.split(',').collect())
}
