//! Random faults in turn. An ordinary run takes a few seconds; `PLACARD_FAULT_SECONDS` and `PLACARD_FAULT_WRITERS` make
//! it, for example, an hour.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::load::number;
use crate::world::World;

/// Unless `PLACARD_FAULT_SECONDS` says otherwise.
const SECONDS: u64 = 15;
/// How long something is held, or is gone.
const HELD: Duration = Duration::from_millis(1_500);

#[tokio::test(flavor = "multi_thread")]
async fn storm_of_random_faults_loses_no_write() {
    let mut world = World::start("storm_of_random_faults_loses_no_write").await;
    let mut rng = ChaCha8Rng::seed_from_u64(world.load.seed());
    let until = Instant::now() + Duration::from_secs(number("PLACARD_FAULT_SECONDS", SECONDS));
    let mut faults = 0;
    while Instant::now() < until {
        let nth = rng.random_range(0..3);
        let fault = match rng.random_range(0..9) {
            0 | 1 => {
                world.kill(nth).await;
                world.load.go_on_for(Duration::from_millis(300)).await;
                world.launch(nth);
                "a replica killed"
            }
            2 => {
                for nth in 0..3 {
                    world.kill(nth).await;
                }
                (0..3).for_each(|nth| world.launch(nth));
                "all replicas killed"
            }
            3 => {
                world.process(nth).pause();
                world.load.go_on_for(HELD).await;
                world.process(nth).resume();
                "a replica held for 1.5 s"
            }
            4 => {
                world.redis_runs(&["FLUSHALL"]).await;
                "stream emptied"
            }
            5 => {
                world.redis.kill().await;
                world.load.go_on_for(HELD).await;
                world.redis.restart_empty().await.expect("Redis starts");
                "Redis killed and back empty after 1.5 s"
            }
            6 => {
                world.redis.pause();
                world.load.go_on_for(HELD).await;
                world.redis.resume();
                "Redis held for 1.5 s"
            }
            7 => {
                world.postgres.kill().await;
                world.postgres.restart().await.expect("PostgreSQL starts");
                "PostgreSQL killed"
            }
            _ => {
                world.postgres.pause();
                world.load.go_on_for(HELD).await;
                world.postgres.resume();
                "PostgreSQL held for 1.5 s"
            }
        };
        faults += 1;
        world.recovers(fault).await;
        // Most of the time there is no fault: then the most is written.
        let well = Duration::from_millis(rng.random_range(0..2_000));
        world.load.go_on_for(well).await;
    }
    eprintln!("{faults} faults");
    world.check().await;
}
