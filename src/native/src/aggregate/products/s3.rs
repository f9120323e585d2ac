//! Amazon S3's operations by method, path and query (Amazon S3 API Reference).

use super::Called;

/// Subresources of an object or a bucket: what is asked about it, by GET, PUT, POST, DELETE.
const SUBRESOURCES: [(&str, [&str; 4]); 14] = [
    (
        "uploads",
        ["ListMultipartUploads", "", "CreateMultipartUpload", ""],
    ),
    ("acl", ["GetAcl", "PutAcl", "", ""]),
    ("tagging", ["GetTagging", "PutTagging", "", "DeleteTagging"]),
    ("delete", ["", "", "DeleteObjects", ""]),
    ("versions", ["ListObjectVersions", "", "", ""]),
    ("location", ["GetBucketLocation", "", "", ""]),
    (
        "policy",
        [
            "GetBucketPolicy",
            "PutBucketPolicy",
            "",
            "DeleteBucketPolicy",
        ],
    ),
    (
        "versioning",
        ["GetBucketVersioning", "PutBucketVersioning", "", ""],
    ),
    (
        "lifecycle",
        [
            "GetBucketLifecycleConfiguration",
            "PutBucketLifecycleConfiguration",
            "",
            "DeleteBucketLifecycle",
        ],
    ),
    (
        "cors",
        ["GetBucketCors", "PutBucketCors", "", "DeleteBucketCors"],
    ),
    (
        "encryption",
        [
            "GetBucketEncryption",
            "PutBucketEncryption",
            "",
            "DeleteBucketEncryption",
        ],
    ),
    (
        "notification",
        [
            "GetBucketNotificationConfiguration",
            "PutBucketNotificationConfiguration",
            "",
            "",
        ],
    ),
    ("attributes", ["GetObjectAttributes", "", "", ""]),
    ("select", ["", "", "SelectObjectContent", ""]),
];

/// Of a request to this path, with this query (without '?').
pub fn called(method: &[u8], path: &[u8], query: &[u8], host: &[u8]) -> Called {
    let path = String::from_utf8_lossy(path);
    let path = path.strip_prefix('/').unwrap_or(&path);
    let host = String::from_utf8_lossy(host);
    // a bucket stands in the host's name or at the path's start
    let (bucket, key) = match host.split_once(".s3") {
        Some((bucket, _)) if !bucket.is_empty() => (bucket, path),
        _ => path.split_once('/').unwrap_or((path, "")),
    };
    let has = |name: &str| {
        query
            .split(|byte| *byte == b'&')
            .any(|pair| pair.split(|byte| *byte == b'=').next() == Some(name.as_bytes()))
    };
    Called {
        operation: format!("S3.{}", operation(method, bucket, key, has)),
        target: bucket.to_owned(),
        item: key.to_owned(),
        ..Called::default()
    }
}

fn operation(method: &[u8], bucket: &str, key: &str, has: impl Fn(&str) -> bool) -> String {
    let place = match method {
        b"GET" | b"HEAD" => 0,
        b"PUT" => 1,
        b"POST" => 2,
        _ => 3,
    };
    if has("uploadId") {
        let of_upload = [
            "ListParts",
            "UploadPart",
            "CompleteMultipartUpload",
            "AbortMultipartUpload",
        ];
        return of_upload[place].to_owned();
    }
    let named = SUBRESOURCES
        .iter()
        .find(|(name, names)| has(name) && !names[place].is_empty());
    if let Some((name, names)) = named {
        // these two are the object's or the bucket's
        return match (*name, key) {
            ("acl" | "tagging", "") => {
                names[place]
                    .replacen("Acl", "BucketAcl", 1)
                    .replacen("Tagging", "BucketTagging", 1)
            }
            ("acl" | "tagging", _) => {
                names[place]
                    .replacen("Acl", "ObjectAcl", 1)
                    .replacen("Tagging", "ObjectTagging", 1)
            }
            _ => names[place].to_owned(),
        };
    }
    match (method, bucket, key) {
        (b"GET", "", _) => "ListBuckets",
        (b"GET", _, "") if has("list-type") => "ListObjectsV2",
        (b"GET", _, "") => "ListObjects",
        (b"HEAD", _, "") => "HeadBucket",
        (b"PUT", _, "") => "CreateBucket",
        (b"DELETE", _, "") => "DeleteBucket",
        (b"GET", ..) => "GetObject",
        (b"HEAD", ..) => "HeadObject",
        (b"PUT", ..) => "PutObject",
        (b"DELETE", ..) => "DeleteObject",
        (b"POST", ..) => "PostObject",
        _ => "_OTHER",
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations() {
        for (method, host, target, operation, bucket, key) in [
            ("GET", "s3.amazonaws.com", "/", "ListBuckets", "", ""),
            (
                "GET",
                "127.0.0.1:9000",
                "/shop/a/b.png",
                "GetObject",
                "shop",
                "a/b.png",
            ),
            (
                "GET",
                "shop.s3.eu-west-1.amazonaws.com",
                "/a/b.png",
                "GetObject",
                "shop",
                "a/b.png",
            ),
            ("PUT", "h", "/shop/k", "PutObject", "shop", "k"),
            (
                "PUT",
                "h",
                "/shop/k?partNumber=2&uploadId=x",
                "UploadPart",
                "shop",
                "k",
            ),
            (
                "POST",
                "h",
                "/shop/k?uploads",
                "CreateMultipartUpload",
                "shop",
                "k",
            ),
            (
                "POST",
                "h",
                "/shop/k?uploadId=x",
                "CompleteMultipartUpload",
                "shop",
                "k",
            ),
            (
                "DELETE",
                "h",
                "/shop/k?uploadId=x",
                "AbortMultipartUpload",
                "shop",
                "k",
            ),
            (
                "GET",
                "h",
                "/shop?list-type=2&prefix=a",
                "ListObjectsV2",
                "shop",
                "",
            ),
            ("GET", "h", "/shop", "ListObjects", "shop", ""),
            ("HEAD", "h", "/shop", "HeadBucket", "shop", ""),
            ("POST", "h", "/shop?delete", "DeleteObjects", "shop", ""),
            ("GET", "h", "/shop/k?acl", "GetObjectAcl", "shop", "k"),
            ("PUT", "h", "/shop?tagging", "PutBucketTagging", "shop", ""),
            ("PATCH", "h", "/shop/k", "_OTHER", "shop", "k"),
        ] {
            let (path, query) = target.split_once('?').unwrap_or((target, ""));
            let found = called(
                method.as_bytes(),
                path.as_bytes(),
                query.as_bytes(),
                host.as_bytes(),
            );
            let seen = (&*found.operation, &*found.target, &*found.item);
            let expected = format!("S3.{operation}");
            assert_eq!(seen, (&*expected, bucket, key), "{method} {target}");
        }
    }
}
