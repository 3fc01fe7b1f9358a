use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use grantry_cache::EvictionPolicy::Lru;
use tokio::sync::{Barrier, oneshot};

use super::{Cache, in_memory};

#[derive(Debug, PartialEq)]
struct Failed;

type Filled = Result<Option<String>, Failed>;

/// A call whose fill brings what is sent; it has begun: what it does before it has to wait is done.
macro_rules! begin {
    ($call:ident, $fill:ident = $cache:expr, $is_good:expr) => {
        let ($fill, filled) = oneshot::channel::<Filled>();
        let call = $cache.get_or_fill(&1, $is_good, async { filled.await.unwrap() });
        let mut $call = Box::pin(call);
        assert!(poll($call.as_mut()).is_pending());
    };
}

fn poll<F: Future>(call: Pin<&mut F>) -> Poll<F::Output> {
    call.poll(&mut Context::from_waker(Waker::noop()))
}

fn any(_: &String) -> bool {
    true
}

fn some(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// What a call finds without filling.
async fn found(cache: &Cache, is_good: impl Fn(&String) -> bool) -> Option<String> {
    let Ok(found) = cache.get_or_fill(&1, is_good, async { Ok::<_, Infallible>(None) }).await;
    found.map(|value| String::clone(&value))
}

#[tokio::test]
async fn what_is_filled_is_kept() {
    let cache = in_memory(2, Lru).await;
    let filled = cache.get_or_fill(&1, any, async { Ok::<_, Failed>(some("a")) }).await.unwrap();
    assert_eq!(filled.as_deref(), some("a").as_ref());
    assert_eq!(found(&cache, any).await, some("a"));
}

#[tokio::test]
async fn an_absence_is_not_kept() {
    let cache = in_memory(2, Lru).await;
    assert_eq!(found(&cache, any).await, None);
    let filled = cache.get_or_fill(&1, any, async { Ok::<_, Failed>(some("a")) }).await.unwrap();
    assert!(filled.is_some());
}

#[tokio::test]
async fn a_copy_that_is_not_good_is_filled_anew() {
    let cache = in_memory(2, Lru).await;
    cache.insert(1, "old".to_owned());
    let is_good = |value: &String| value != "old";
    let filled = cache.get_or_fill(&1, is_good, async { Ok::<_, Failed>(some("new")) }).await.unwrap();
    assert_eq!(filled.as_deref(), some("new").as_ref());
    assert_eq!(found(&cache, is_good).await, some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_calls_at_the_same_time_one_fills() {
    const CALLS: usize = 64;
    let cache = Arc::new(in_memory(2, Lru).await);
    let start = Arc::new(Barrier::new(CALLS));
    let fills = Arc::new(AtomicUsize::new(0));
    let calls: Vec<_> = (0..CALLS)
        .map(|_| {
            let (cache, start, fills) = (Arc::clone(&cache), Arc::clone(&start), Arc::clone(&fills));
            tokio::spawn(async move {
                start.wait().await;
                let fill = async {
                    fills.fetch_add(1, Ordering::Relaxed);
                    tokio::task::yield_now().await;
                    Ok::<_, Infallible>(some("a"))
                };
                let Ok(found) = cache.get_or_fill(&1, any, fill).await;
                found
            })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap().as_deref(), some("a").as_ref());
    }
    assert_eq!(fills.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn others_get_what_the_first_brought() {
    let cache = in_memory(2, Lru).await;
    begin!(first, first_fill = cache, any);
    begin!(second, _second_fill = cache, any);
    first_fill.send(Ok(some("a"))).unwrap();
    assert_eq!(first.await.unwrap().as_deref(), some("a").as_ref());
    assert_eq!(second.await.unwrap().as_deref(), some("a").as_ref());
}

#[tokio::test]
async fn others_get_what_the_first_brought_even_where_nothing_is_kept() {
    let cache = in_memory(0, Lru).await;
    begin!(first, first_fill = cache, any);
    begin!(second, _second_fill = cache, any);
    first_fill.send(Ok(some("a"))).unwrap();
    first.await.unwrap();
    assert_eq!(second.await.unwrap().as_deref(), some("a").as_ref());
}

#[tokio::test]
async fn others_fill_for_themselves_after_an_absence() {
    let cache = in_memory(2, Lru).await;
    begin!(first, first_fill = cache, any);
    begin!(second, second_fill = cache, any);
    first_fill.send(Ok(None)).unwrap();
    assert_eq!(first.await, Ok(None));
    second_fill.send(Ok(some("written since"))).unwrap();
    assert_eq!(second.await.unwrap().as_deref(), some("written since").as_ref());
}

#[tokio::test]
async fn a_failure_is_that_of_its_caller_alone() {
    let cache = in_memory(2, Lru).await;
    begin!(first, first_fill = cache, any);
    begin!(second, second_fill = cache, any);
    begin!(third, third_fill = cache, any);
    first_fill.send(Err(Failed)).unwrap();
    assert_eq!(first.await, Err(Failed));
    second_fill.send(Ok(some("a"))).unwrap();
    third_fill.send(Ok(some("a"))).unwrap();
    assert_eq!(second.await.unwrap().as_deref(), some("a").as_ref());
    assert_eq!(third.await.unwrap().as_deref(), some("a").as_ref());
}

#[tokio::test]
async fn others_fill_for_themselves_if_what_the_first_brought_is_not_good_for_them() {
    let cache = in_memory(2, Lru).await;
    begin!(first, first_fill = cache, any);
    begin!(second, second_fill = cache, |value: &String| value != "old");
    first_fill.send(Ok(some("old"))).unwrap();
    assert_eq!(first.await.unwrap().as_deref(), some("old").as_ref());
    second_fill.send(Ok(some("new"))).unwrap();
    assert_eq!(second.await.unwrap().as_deref(), some("new").as_ref());
    assert_eq!(found(&cache, any).await, some("new"));
}

#[tokio::test]
async fn a_cancelled_call_strands_nobody() {
    let cache = in_memory(2, Lru).await;
    begin!(first, _first_fill = cache, any);
    begin!(second, second_fill = cache, any);
    drop(first);
    second_fill.send(Ok(some("a"))).unwrap();
    assert_eq!(second.await.unwrap().as_deref(), some("a").as_ref());
}

#[tokio::test]
async fn after_a_cancelled_call_one_fills_for_all_again() {
    let cache = in_memory(2, Lru).await;
    begin!(first, _first_fill = cache, any);
    drop(first);
    begin!(second, second_fill = cache, any);
    begin!(third, _third_fill = cache, any);
    second_fill.send(Ok(some("a"))).unwrap();
    assert_eq!(second.await.unwrap().as_deref(), some("a").as_ref());
    assert_eq!(third.await.unwrap().as_deref(), some("a").as_ref());
}

#[tokio::test]
async fn what_one_call_brought_is_not_for_calls_that_come_later() {
    let cache = in_memory(2, Lru).await;
    begin!(first, first_fill = cache, any);
    first_fill.send(Ok(some("a"))).unwrap();
    first.await.unwrap();
    cache.remove(&1);
    assert_eq!(found(&cache, any).await, None);
}
