//! Settings in drivers and pools, and settings from files.

#[cfg(feature = "sqlite")]
mod into_pools {
    use poolwarden::driver::FromSettings;
    use poolwarden::{ErrorKind, Manager, Pool, Settings, Sqlite};
    use std::time::Duration;

    #[test]
    fn a_url_configures_a_pool() {
        let url = "sqlite::memory:?pool_max_size=3&pool_name=orders";
        let pool: Pool<Sqlite> = Pool::connect(url).expect("a pool");
        assert_eq!((pool.snapshot().levels.max_size, pool.name()), (3, "orders"));
        let settings = url.parse::<Settings>().expect("settings");
        let pool: Pool<Sqlite> = Pool::with_settings(&settings).expect("a pool");
        assert_eq!(pool.snapshot().levels.max_size, 3);
    }

    #[test]
    fn the_builders_own_methods_win_over_the_url_and_the_url_over_the_defaults() {
        let driver = || Sqlite::new("sqlite::memory:?pool_max_size=3&pool_min_idle=2");
        let pool = Pool::builder().max_size(7).build_lazy(driver().expect("a URL"));
        assert_eq!(pool.expect("a pool").snapshot().levels.max_size, 7);
        let error = Pool::builder().max_size(1).build_lazy(driver().expect("a URL")).map(drop);
        let text = error.expect_err("2 exceeds 1").to_string();
        assert_eq!(text, "pool sqlite in memory: min_idle 2 exceeds max_size 1");
        let snapshot = Manager::new(driver().expect("a URL")).snapshot();
        assert_eq!(snapshot.levels.max_size, 3);
    }

    #[test]
    fn contradictory_options_in_a_url_are_refused() {
        let error = Sqlite::new("sqlite:x?pool_max_size=1&pool_min_idle=2").map(drop);
        let error = error.expect_err("2 exceeds 1");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert_eq!(error.to_string(), "min_idle 2 exceeds max_size 1");
    }

    #[test]
    fn a_path_and_a_url_with_a_mode_open_the_same_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a b.db");
        let path = path.to_str().expect("text");
        let driver = Sqlite::new(path).expect("a bare path");
        Pool::builder()
            .build(driver)
            .expect("a pool")
            .execute_batch("create table t (n)")
            .expect("the table is created");
        let url = format!("sqlite:{}?mode=ro", path.replace(' ', "%20"));
        let pool: Pool<Sqlite> = Pool::connect(&url).expect("a pool");
        pool.execute_batch("select * from t").expect("the table exists");
        pool.execute_batch("create table u (n)").expect_err("read only");
        let gone = format!("sqlite:{path}.gone?mode=rw&pool_checkout_timeout=1s");
        Pool::<Sqlite>::connect(&gone).map(drop).expect_err("not created");
    }

    #[test]
    fn settings_without_a_file_or_for_another_database_are_refused() {
        let refused = |text: &str| {
            let settings = text.parse::<Settings>().expect("well-formed");
            Sqlite::from_settings(&settings).map(drop).expect_err("refused").to_string()
        };
        assert!(refused("pool_max_size=1").contains("no file given"));
        assert!(refused("postgres://h/d").contains("for PostgreSQL, not for SQLite"));
        assert!(refused("host=h").contains("host: a key for PostgreSQL, not for SQLite"));
    }

    #[test]
    fn a_lifetime_in_a_url_is_kept() {
        let url = "sqlite::memory:?pool_max_lifetime=20ms&pool_lifetime_jitter=0";
        let pool: Pool<Sqlite> = Pool::connect(url).expect("a pool");
        std::thread::sleep(Duration::from_millis(40));
        drop(pool.get().expect("a new connection"));
        // On a loaded computer the second one may expire before it is handed out.
        assert!(pool.snapshot().opened >= 2, "{}", pool.snapshot());
    }
}

#[cfg(feature = "serde")]
mod files {
    use figment::Figment;
    use figment::providers::{Format, Serialized, Toml};
    use poolwarden::{PoolOptions, Settings};
    use serde::Deserialize;
    use std::time::Duration;

    #[derive(Deserialize)]
    struct App {
        orders: Settings,
        cache: PoolOptions,
    }

    #[test]
    fn a_file_holds_urls_keys_and_options() {
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
        let options = app.orders.options();
        assert_eq!((options.max_size, options.min_idle), (Some(9), Some(2)));
        assert_eq!(options.max_lifetime, Some(Some(Duration::from_secs(300))));
        assert_eq!((options.lifetime_jitter, options.strict_limits), (Some(0.2), Some(true)));
        assert_eq!(app.cache.checkout_timeout, Some(Duration::from_secs(3)));
        assert_eq!(app.cache.idle_timeout, Some(None));
    }

    #[test]
    fn a_secret_that_is_no_text_or_in_place_of_the_map_is_rejected_and_not_shown() {
        let map = |json: &str| serde_json::from_str::<Settings>(json).map(drop);
        for (json, part) in [
            (r#""postgres://u:hushhush@h/d""#, "found text (not shown)"),
            ("7777777", "found a number (not shown)"),
            ("-7777777", "found a number (not shown)"),
            ("777.7777", "found a number (not shown)"),
            (r#"{"password": 7777777}"#, "password: expected text; put the value in quotes"),
            (r#"{"sslpassword": true}"#, "sslpassword: expected text"),
        ] {
            let found = map(json).expect_err(json).to_string();
            assert!(found.contains(part), "{json}: {found}");
            assert!(!found.contains("hush") && !found.contains("777"), "{json}: {found}");
        }
        assert!(map(r#"{"host": "h", "port": 5432, "password": "7777777"}"#).is_ok());
    }

    #[test]
    fn an_error_in_a_file_names_the_key() {
        let refused = |text: &str| {
            let read = Figment::from(Toml::string(text)).extract::<Settings>();
            read.map(drop).expect_err("refused").to_string()
        };
        for (text, wanted) in [
            ("maxsize = 1", "unknown key maxsize; did you mean max_size?"),
            ("pool_size = 1", "unknown key pool_size; did you mean max_size?"),
            ("max_size = 'hush'", "max_size: expected a whole number"),
            ("max_size = -1", "max_size: expected a whole number"),
            ("url = 'oracle://u:hush@h'", "url: connection URL: unknown scheme"),
        ] {
            let found = refused(text);
            assert!(found.contains(wanted) && !found.contains("hush"), "{found}");
        }
        let read = Figment::from(Toml::string("host = 'h'")).extract::<PoolOptions>();
        assert!(read.expect_err("no option").to_string().contains("host: not a pool option"));
    }

    #[test]
    fn options_of_the_program_are_defaults_that_a_file_overrides() {
        let mut options = PoolOptions::default();
        options.max_size = Some(4);
        options.ping_after = Some(None);
        options.max_lifetime = Some(Some(Duration::from_millis(1_500)));
        let layers = Figment::from(Serialized::defaults(&options));
        let same: PoolOptions = layers.clone().extract().expect("what was written is read");
        assert_eq!(same, options);
        let layers = layers.merge(Toml::string("max_size = 6"));
        let both: PoolOptions = layers.extract().expect("two layers");
        assert_eq!((both.max_size, both.ping_after), (Some(6), Some(None)));
    }
}
