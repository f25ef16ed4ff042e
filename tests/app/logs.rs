//! Logs are isolated, created by name, and keep their settings over a restart.

use strandlog::app::logs::LogSettings;
use strandlog::app::{Code, FailureKind};
use strandlog::store::Retention;

use crate::{Rig, event, places, publish};

#[tokio::test]
async fn logs_count_for_themselves() {
    let rig = Rig::new().await;
    let (_, is_new) = rig.app.put_log("billing", None).await.unwrap();
    assert!(is_new);
    let billing = rig.app.log("billing").unwrap();
    for log in [&rig.log, &billing] {
        let stored = publish(log, [event("a", "t")]).await.unwrap();
        assert_eq!(places(&stored), [(1, 0)]);
    }
    let (_, is_new) = rig.app.put_log("billing", None).await.unwrap();
    assert!(!is_new);
    assert_eq!(billing.last_id(), 1);
}

#[tokio::test]
async fn settings_are_kept_over_a_restart() {
    let rig = Rig::new().await;
    let settings = LogSettings {
        retention: Some(Retention {
            age_max_s: Some(3_600),
            bytes_max: Some(1 << 30),
            records_max: None,
        }),
    };
    rig.app.put_log("billing", Some(settings)).await.unwrap();
    let rig = rig.reopened().await;
    let description = rig.app.log("billing").unwrap().describe();
    assert_eq!(description.settings, settings);
    assert_eq!(description.state.retention, settings.retention.unwrap());
    let (back, _) = rig
        .app
        .put_log("billing", Some(LogSettings::default()))
        .await
        .unwrap();
    assert_eq!(back.state.retention, Retention::default());
    let rig = rig.reopened().await;
    let description = rig.app.log("billing").unwrap().describe();
    assert_eq!(description.settings, LogSettings::default());
}

#[tokio::test]
async fn the_servers_own_logs_are_neither_found_nor_listed_nor_created() {
    let rig = Rig::new().await;
    rig.app.put_log("a", None).await.unwrap();
    let names: Vec<String> = rig
        .app
        .logs()
        .into_iter()
        .map(|log| log.name.to_string())
        .collect();
    assert_eq!(names, ["a", "default"]);
    for hidden in ["_system", "_other"] {
        let found = rig.app.log(hidden).unwrap_err();
        assert_eq!(found.code, Code::NoSuchLog);
        let created = rig.app.put_log(hidden, None).await.unwrap_err();
        assert_eq!(created.code, Code::NoSuchLog);
    }
    let unknown = rig.app.log("unknown").unwrap_err();
    assert_eq!(unknown.kind(), FailureKind::NotFound);
    for bad in ["", "..", "a/b", "A", "-a"] {
        let refused = rig.app.log(bad).unwrap_err();
        assert_eq!(refused.code, Code::InvalidLogName, "{bad:?}");
    }
}
