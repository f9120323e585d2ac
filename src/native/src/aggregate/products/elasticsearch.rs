//! Elasticsearch and OpenSearch (semantic conventions 1.44, docs/db/elasticsearch.md): an endpoint's identifier is that of
//! the product's API specification, "search" or "cat.indices".

use super::Called;

/// Endpoints of an index whose identifier is not just the last segment without its underscore.
const OF_INDEX: [(&str, &str); 18] = [
    ("_refresh", "indices.refresh"),
    ("_flush", "indices.flush"),
    ("_forcemerge", "indices.forcemerge"),
    ("_open", "indices.open"),
    ("_close", "indices.close"),
    ("_stats", "indices.stats"),
    ("_segments", "indices.segments"),
    ("_recovery", "indices.recovery"),
    ("_rollover", "indices.rollover"),
    ("_shrink", "indices.shrink"),
    ("_split", "indices.split"),
    ("_clone", "indices.clone"),
    ("_analyze", "indices.analyze"),
    ("_mapping", "indices.mapping"),
    ("_settings", "indices.settings"),
    ("_alias", "indices.alias"),
    ("_aliases", "indices.alias"),
    ("_template", "indices.template"),
];

/// Of them those that are another with each method: GET, PUT or POST, DELETE, HEAD.
const BY_METHOD: [(&str, [&str; 4]); 6] = [
    ("_doc", ["get", "index", "delete", "exists"]),
    (
        "_source",
        ["get_source", "get_source", "get_source", "exists_source"],
    ),
    (
        "_mapping",
        ["indices.get_mapping", "indices.put_mapping", "", ""],
    ),
    (
        "_settings",
        ["indices.get_settings", "indices.put_settings", "", ""],
    ),
    (
        "_alias",
        [
            "indices.get_alias",
            "indices.put_alias",
            "indices.delete_alias",
            "indices.exists_alias",
        ],
    ),
    (
        "_pit",
        ["", "open_point_in_time", "close_point_in_time", ""],
    ),
];

const INDEX_ITSELF: [&str; 4] = [
    "indices.get",
    "indices.create",
    "indices.delete",
    "indices.exists",
];

fn place(method: &[u8]) -> usize {
    match method {
        b"PUT" | b"POST" => 1,
        b"DELETE" => 2,
        b"HEAD" => 3,
        _ => 0,
    }
}

/// Of a request to this path.
pub fn called(method: &[u8], path: &[u8]) -> Called {
    let path = String::from_utf8_lossy(path);
    let mut segments = path.split('/').filter(|segment| !segment.is_empty());
    let place = place(method);
    let Some(first) = segments.next() else {
        return named(if place == 3 { "ping" } else { "info" });
    };
    if let Some(api) = first.strip_prefix('_') {
        return match (api, segments.next()) {
            (
                "cat" | "cluster" | "nodes" | "tasks" | "snapshot" | "ingest" | "ml" | "security"
                | "ilm" | "watcher",
                Some(what),
            ) => {
                let what = what.strip_prefix('_').unwrap_or(what);
                named(&format!("{api}.{}", identifier(what)))
            }
            ("nodes" | "tasks", None) => named(&format!("{api}.list")),
            ("search", Some("scroll")) => {
                named(["scroll", "scroll", "clear_scroll", "scroll"][place])
            }
            (
                "bulk" | "search" | "msearch" | "mget" | "count" | "reindex" | "field_caps" | "sql"
                | "scripts" | "render" | "rank_eval" | "mtermvectors",
                _,
            ) => named(api),
            (
                "refresh" | "flush" | "forcemerge" | "stats" | "aliases" | "mapping" | "settings"
                | "index_template" | "component_template" | "analyze",
                _,
            ) => named(&format!("indices.{api}")),
            _ => named(&identifier(api)),
        };
    }
    // more than one index, or a pattern, is no single collection
    let single = !first.contains([',', '*']);
    let index = if single { first } else { "" };
    let Some(endpoint) = segments.next() else {
        return of_index(INDEX_ITSELF[place], index, "");
    };
    let item = segments.next().filter(|item| !item.starts_with('_'));
    if let Some((_, names)) = BY_METHOD.iter().find(|(name, _)| *name == endpoint) {
        let name = match names[place] {
            "" => names[0],
            name => name,
        };
        return of_index(name, index, item.unwrap_or_default());
    }
    if let Some((_, name)) = OF_INDEX.iter().find(|(name, _)| *name == endpoint) {
        return of_index(name, index, "");
    }
    let name = identifier(endpoint.strip_prefix('_').unwrap_or(endpoint));
    of_index(&name, index, item.unwrap_or_default())
}

/// An endpoint's name as far as it can be one: what is made up by users is none.
fn identifier(segment: &str) -> String {
    let fits = segment.len() <= 40
        && segment
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if fits { segment } else { "other" }.to_owned()
}

fn named(operation: &str) -> Called {
    of_index(operation, "", "")
}

fn of_index(operation: &str, index: &str, item: &str) -> Called {
    Called {
        operation: operation.to_owned(),
        target: index.to_owned(),
        item: item.to_owned(),
        ..Called::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints() {
        for (method, path, operation, index, item) in [
            ("POST", "/shop/_search", "search", "shop", ""),
            ("GET", "/shop,carts/_search", "search", "", ""),
            ("GET", "/logs-*/_count", "count", "", ""),
            ("POST", "/_bulk", "bulk", "", ""),
            ("PUT", "/shop/_bulk", "bulk", "shop", ""),
            ("PUT", "/shop/_doc/42", "index", "shop", "42"),
            ("POST", "/shop/_doc", "index", "shop", ""),
            ("GET", "/shop/_doc/42", "get", "shop", "42"),
            ("DELETE", "/shop/_doc/42", "delete", "shop", "42"),
            ("HEAD", "/shop/_doc/42", "exists", "shop", "42"),
            ("PUT", "/shop/_create/42", "create", "shop", "42"),
            ("POST", "/shop/_update/42", "update", "shop", "42"),
            (
                "POST",
                "/shop/_update_by_query",
                "update_by_query",
                "shop",
                "",
            ),
            (
                "POST",
                "/shop/_delete_by_query",
                "delete_by_query",
                "shop",
                "",
            ),
            ("PUT", "/shop", "indices.create", "shop", ""),
            ("DELETE", "/shop", "indices.delete", "shop", ""),
            ("HEAD", "/shop", "indices.exists", "shop", ""),
            ("GET", "/shop/_mapping", "indices.get_mapping", "shop", ""),
            ("POST", "/shop/_refresh", "indices.refresh", "shop", ""),
            ("GET", "/_cat/indices", "cat.indices", "", ""),
            ("GET", "/_cluster/health", "cluster.health", "", ""),
            ("POST", "/_search/scroll", "scroll", "", ""),
            ("DELETE", "/_search/scroll", "clear_scroll", "", ""),
            ("POST", "/_msearch", "msearch", "", ""),
            ("GET", "/", "info", "", ""),
            ("HEAD", "/", "ping", "", ""),
            ("GET", "/shop/_Nonsense%20", "other", "shop", ""),
        ] {
            let found = called(method.as_bytes(), path.as_bytes());
            let seen = (&*found.operation, &*found.target, &*found.item);
            assert_eq!(seen, (operation, index, item), "{method} {path}");
        }
    }
}
