use crate::ambient::clock;
use crate::commands::print;
use crate::config::Loaded;
use crate::failure::Failure;
use crate::{offline, wire};

pub fn run(loaded: &Loaded) -> Result<(), Failure> {
    offline::run(async {
        let url = &loaded.config.store.url;
        let Some((found, needed)) = wire::schema_versions(&loaded.config).await? else {
            print::line(format_args!("{url} has no schema"));
            return Ok(());
        };
        // Opening is what migrates; it also finds whatever else keeps the store from being used.
        drop(wire::open(&loaded.config, clock()).await?);
        print::line(if found == needed {
            format!("{url}: the schema is up to date (version {needed})")
        } else {
            format!("{url}: the schema was brought from version {found} to version {needed}")
        });
        Ok(())
    })
}
