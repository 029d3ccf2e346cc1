/// Parameters of URLs that are never secret.
const OPEN: [&str; 4] = ["bucket", "endpoint", "prefix", "region"];

const SCHEMES: [&str; 8] = ["etcd", "file", "http", "https", "memory", "nats", "s3", "tls"];

/// A store's URL for people: without user, password and fragment, and without parameters that may be secret. What
/// cannot be told apart with certainty is left out, so it may say less than it could.
pub(crate) fn masked(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        // A word that stands for a store, or anything.
        return if url == "s3" { url.to_owned() } else { "***".to_owned() };
    };
    if !SCHEMES.contains(&scheme.to_ascii_lowercase().as_str()) {
        return "***".to_owned();
    }
    let (place, more) = match rest.find(['?', '#']) {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    // A password with a `?` in it.
    if place.contains(':') && more.contains('@') && !place.contains('@') {
        return format!("{scheme}://***");
    }
    let place = place.rsplit_once('@').map_or_else(|| place.to_owned(), |(_, place)| format!("***@{place}"));
    let query = more.strip_prefix('?').unwrap_or_default().split('#').next().unwrap_or_default();
    let mut shown = format!("{scheme}://{place}");
    let mut mark = '?';
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        // A server's URL may hold a key itself, also an encoded one.
        let is_plain = !value.contains(['@', '?', '%']);
        if OPEN.contains(&name) && is_plain {
            shown.push(mark);
            shown.push_str(&format!("{name}={value}"));
            mark = '&';
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_url_shows_its_place_and_no_secret() {
        for (url, shown) in [
            ("s3", "s3"),
            ("s3://b/p?endpoint=http://e:1&region=r", "s3://b/p?endpoint=http://e:1&region=r"),
            ("s3://b?access_key_id=hush&secret_access_key=hush&region=r", "s3://b?region=r"),
            ("s3://b?endpoint=http://id:hush@e:1", "s3://b"),
            ("s3://b?endpoint=http%3A%2F%2Fid%3Ahush%40e", "s3://b"),
            ("s3://b?endpoint=http://e?token=hush", "s3://b"),
            ("nats://user:hush@h:4222?bucket=b", "nats://***@h:4222?bucket=b"),
            ("nats://hush@h:4222?bucket=b", "nats://***@h:4222?bucket=b"),
            ("nats://u:hu,sh@h:1,u:hush@h2:1", "nats://***@h2:1"),
            ("nats://u:hu/sh@h:1", "nats://***@h:1"),
            ("nats://u:hush?x@h:1", "nats://***"),
            ("etcd://h:2379,h2:2379?prefix=p&password=hush", "etcd://h:2379,h2:2379?prefix=p"),
            ("http://h:1/x?token=hush", "http://h:1/x"),
            ("http://h:1/x?token=hu@sh&region=hush#hush", "http://***"),
            ("http://h/x?token=hush#hush", "http://h/x"),
            ("file:///folder", "file:///folder"),
            ("hush", "***"),
            ("hush://h", "***"),
        ] {
            assert_eq!(masked(url), shown, "{url}");
        }
    }
}
