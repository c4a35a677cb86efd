//! Settings: into drivers and pools, and out of files.

#[cfg(feature = "sqlite")]
mod into_pools {
    use poolwarden::{ErrorKind, FromSettings, Manager, Pool, Settings, Sqlite};
    use std::time::Duration;

    #[test]
    fn a_url_makes_a_pool_with_its_knobs() {
        let url = "sqlite::memory:?pool_max_size=3&pool_name=orders";
        let pool: Pool<Sqlite> = Pool::connect(url).expect("a pool");
        assert_eq!((pool.snapshot().max_size, pool.name()), (3, "orders"));
        let settings = url.parse::<Settings>().expect("settings");
        let pool: Pool<Sqlite> = Pool::with_settings(&settings).expect("a pool");
        assert_eq!(pool.snapshot().max_size, 3);
    }

    #[test]
    fn the_builders_own_methods_win_over_the_url_and_the_url_over_the_defaults() {
        let driver = || Sqlite::new("sqlite::memory:?pool_max_size=3&pool_min_idle=2");
        let pool = Pool::builder().max_size(7).build_lazy(driver().expect("a URL"));
        assert_eq!(pool.expect("a pool").snapshot().max_size, 7);
        let error = Pool::builder().max_size(1).build_lazy(driver().expect("a URL")).map(drop);
        assert_eq!(error.expect_err("2 of 1").to_string(), "min_idle 2 exceeds max_size 1");
        let snapshot = Manager::new(driver().expect("a URL")).snapshot();
        assert_eq!(snapshot.max_size, 3);
    }

    #[test]
    fn knobs_that_contradict_one_another_are_refused_with_the_url() {
        let error = Sqlite::new("sqlite:x?pool_max_size=1&pool_min_idle=2").map(drop);
        let error = error.expect_err("2 of 1");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.to_string(), "min_idle 2 exceeds max_size 1");
    }

    #[test]
    fn a_path_a_url_and_a_mode_lead_to_the_same_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a b.db");
        let path = path.to_str().expect("text");
        let driver = Sqlite::new(path).expect("a bare path");
        Pool::builder()
            .build(driver)
            .expect("a pool")
            .execute_batch("create table t (n)")
            .expect("made");
        let url = format!("sqlite:{}?mode=ro", path.replace(' ', "%20"));
        let pool: Pool<Sqlite> = Pool::connect(&url).expect("a pool");
        pool.execute_batch("select * from t").expect("it is there");
        pool.execute_batch("create table u (n)").expect_err("read only");
        let gone = format!("sqlite:{path}.gone?mode=rw&pool_checkout_timeout=1s");
        Pool::<Sqlite>::connect(&gone).map(drop).expect_err("not created");
    }

    #[test]
    fn settings_without_a_file_or_of_another_system_are_refused() {
        let refused = |text: &str| {
            let settings = text.parse::<Settings>().expect("well-formed");
            Sqlite::from_settings(&settings).map(drop).expect_err("refused").to_string()
        };
        assert!(refused("pool_max_size=1").contains("no file is named"));
        assert!(refused("postgres://h/d").contains("one of PostgreSQL, not of SQLite"));
        assert!(refused("host=h").contains("host: a key of PostgreSQL, not of SQLite"));
    }

    #[test]
    fn a_lifetime_in_a_url_is_kept() {
        let url = "sqlite::memory:?pool_max_lifetime=20ms&pool_lifetime_jitter=0";
        let pool: Pool<Sqlite> = Pool::connect(url).expect("a pool");
        std::thread::sleep(Duration::from_millis(40));
        drop(pool.get().expect("a new one"));
        assert_eq!(pool.snapshot().opened, 2);
    }
}

#[cfg(feature = "serde")]
mod files {
    use figment::Figment;
    use figment::providers::{Format, Serialized, Toml};
    use poolwarden::{Knobs, Settings};
    use serde::Deserialize;
    use std::time::Duration;

    #[derive(Deserialize)]
    struct App {
        orders: Settings,
        cache: Knobs,
    }

    #[test]
    fn a_file_holds_urls_keys_and_knobs() {
        let text = r#"
            [orders]
            url = "postgres://u:p@h/d?pool_max_size=8&pool_min_idle=2"
            max_size = 9
            max_lifetime = "5m"
            lifetime_jitter = 0.2
            strict_limits = true
            application_name = "shop"

            [cache]
            checkout_timeout = 3
            idle_timeout = "none"
        "#;
        let app: App = Figment::from(Toml::string(text)).extract().expect("a file");
        let knobs = app.orders.knobs();
        assert_eq!((knobs.max_size, knobs.min_idle), (Some(9), Some(2)));
        assert_eq!(knobs.max_lifetime, Some(Some(Duration::from_secs(300))));
        assert_eq!((knobs.lifetime_jitter, knobs.strict_limits), (Some(0.2), Some(true)));
        assert_eq!(app.cache.checkout_timeout, Some(Duration::from_secs(3)));
        assert_eq!(app.cache.idle_timeout, Some(None));
    }

    #[test]
    fn what_a_file_says_wrong_is_told_by_the_key() {
        let refused = |text: &str| {
            let read = Figment::from(Toml::string(text)).extract::<Settings>();
            read.map(drop).expect_err("refused").to_string()
        };
        for (text, wanted) in [
            ("maxsize = 1", "unknown key maxsize; did you mean max_size?"),
            ("pool_size = 1", "unknown key pool_size; did you mean max_size?"),
            ("max_size = 'hush'", "max_size: not a whole number"),
            ("max_size = -1", "max_size: not a whole number"),
            ("url = 'oracle://u:hush@h'", "url: connection URL: it begins with none of"),
        ] {
            let found = refused(text);
            assert!(found.contains(wanted) && !found.contains("hush"), "{found}");
        }
        let read = Figment::from(Toml::string("host = 'h'")).extract::<Knobs>();
        assert!(read.expect_err("no knob").to_string().contains("host: not a knob"));
    }

    #[test]
    fn knobs_of_the_program_are_defaults_that_a_file_overrides() {
        let mut knobs = Knobs::default();
        knobs.max_size = Some(4);
        knobs.ping_after = Some(None);
        knobs.max_lifetime = Some(Some(Duration::from_millis(1_500)));
        let layers = Figment::from(Serialized::defaults(&knobs));
        let same: Knobs = layers.clone().extract().expect("what was written is read");
        assert_eq!(same, knobs);
        let layers = layers.merge(Toml::string("max_size = 6"));
        let both: Knobs = layers.extract().expect("two layers");
        assert_eq!((both.max_size, both.ping_after), (Some(6), Some(None)));
    }
}
