// Renewal: keeps the certificate of an enrolled machine young while its agent runs, on a thread of
// its own. Sessions read the files at each attempt to connect, so a new certificate needs no word.
#pragma once

#include "base/clock.h"
#include "base/disk.h"

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace cw::agent {

class Renewal {
public:
    // `before_ns`: renewed when it is valid for less; 0: for less than a third of its time.
    Renewal(Clock& clock, std::string state_directory, std::int64_t before_ns);
    ~Renewal();
    Renewal(const Renewal&) = delete;
    Renewal& operator=(const Renewal&) = delete;

private:
    void run();
    std::int64_t look();  // Seconds until the next look.

    Clock& clock_;
    const std::string state_directory_;
    const std::int64_t before_s_;
    const std::unique_ptr<Disk> disk_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool stop_ = false;
    std::thread thread_;
};

}  // namespace cw::agent
