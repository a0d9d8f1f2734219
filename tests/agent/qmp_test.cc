// The monitor client against a scripted monitor, and the parser of what monitors say.
#include "agent/qemu/qemu_machine.h"
#include "agent/qemu/qmp_client.h"
#include "tests/agent/fake_monitor.h"

#include <gtest/gtest.h>

namespace cw::agent::test {
namespace {

constexpr const char* greeting = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";
constexpr const char* nothing = "{\"return\": {}, \"id\": $ID}\r\n";

class Qmp : public testing::Test {
protected:
    Qmp() : clock_(make_system_clock()) {
        path_ = testing::TempDir() + "cw_qmp_" + std::to_string(::getpid());
    }
    auto connect(QmpClient::Dialect dialect = QmpClient::Dialect::monitor) {
        return QmpClient::connect(path_, dialect, *clock_, 20 * ns_per_s);
    }
    std::unique_ptr<Clock> clock_;
    std::string path_;
};

bool asks(const std::string& line, const char* command) {
    return line.starts_with("{\"execute\":\"" + std::string(command) + "\"");
}

TEST_F(Qmp, AgreesOnCapabilitiesAndReturnsWhatACommandReturns) {
    FakeMonitor monitor(path_, greeting, [](const std::string& line) {
        return asks(line, "query-status") ? "{\"return\": {\"running\": true}, \"id\": $ID}\n"
                                          : nothing;
    });
    auto client = connect();
    ASSERT_TRUE(client) << to_string(client.error());
    const auto status = (*client)->execute("query-status", R"({"a":1})");
    ASSERT_TRUE(status) << to_string(status.error());
    EXPECT_EQ(*status, R"({"running":true})");
    ASSERT_EQ(monitor.lines().size(), 2U);
    EXPECT_TRUE(asks(monitor.lines()[0], "qmp_capabilities"));
    EXPECT_NE(monitor.lines()[1].find(R"("arguments":{"a":1})"), std::string::npos);
}

TEST_F(Qmp, ARefusalNamesTheCommandAndQemusWords) {
    FakeMonitor monitor(path_, greeting, [](const std::string& line) {
        return asks(line, "eject") ? "{\"error\": {\"class\": \"GenericError\", "
                                     "\"desc\": \"Device 'x' not found\"}, \"id\": $ID}\n"
                                   : nothing;
    });
    auto client = connect();
    ASSERT_TRUE(client);
    const auto refused = (*client)->execute("eject");
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Errc::qmp_failed);
    EXPECT_EQ(refused.error().detail, "eject: GenericError: Device 'x' not found");
    EXPECT_TRUE((*client)->execute("query-block"));  // The connection goes on.
}

TEST_F(Qmp, EventsAreKeptInOrderAndBounded) {
    FakeMonitor monitor(path_, greeting, [](const std::string& line) {
        std::string out;
        if (asks(line, "stop")) {
            for (std::size_t i = 0; i < QmpClient::events_max + 10; ++i) {
                out += "{\"event\": \"E" + std::to_string(i) + "\", \"data\": {\"n\": 1}}\n";
            }
        }
        return out + nothing;
    });
    auto client = connect();
    ASSERT_TRUE(client);
    ASSERT_TRUE((*client)->execute("stop"));
    std::size_t count = 0;
    std::string first, last;
    while (const auto event = (*client)->next_event()) {
        first = count++ == 0 ? event->name : first;
        last = event->name;
        EXPECT_EQ(event->data, R"({"n":1})");
    }
    EXPECT_EQ(count, QmpClient::events_max);
    EXPECT_EQ(first, "E10");
    EXPECT_EQ(last, "E" + std::to_string(QmpClient::events_max + 9));
}

TEST_F(Qmp, ALateAnswerIsNotTakenForTheNextOne) {
    FakeMonitor monitor(path_, greeting, [held = std::string()](const std::string& line) mutable {
        if (asks(line, "slow")) {
            return std::string();
        }
        // The answer to the command before comes first.
        return asks(line, "fast") ? std::string(
                                        "{\"return\": \"slow\", \"id\": 2}\n"
                                        "{\"return\": \"fast\", \"id\": $ID}\n")
                                  : std::string(nothing);
    });
    auto client = connect();
    ASSERT_TRUE(client);
    const auto slow = (*client)->execute("slow", "{}", 50 * ns_per_ms);
    ASSERT_FALSE(slow);
    EXPECT_NE(slow.error().detail.find("no answer in time"), std::string::npos);
    const auto fast = (*client)->execute("fast");
    ASSERT_TRUE(fast);
    EXPECT_EQ(*fast, "\"fast\"");
}

TEST_F(Qmp, SilenceHangUpAndGarbageEndTheConnection) {
    EXPECT_EQ(connect().error().code, Errc::qmp_failed);  // Nobody listens.
    {
        FakeMonitor silent(path_, "", [](const std::string&) { return std::string(); });
        const auto refused =
            QmpClient::connect(path_, QmpClient::Dialect::monitor, *clock_, 50 * ns_per_ms);
        ASSERT_FALSE(refused);
        EXPECT_NE(refused.error().detail.find("another client"), std::string::npos);
    }
    {
        FakeMonitor rude(path_, greeting, [](const std::string& line) {
            return std::string(asks(line, "quit") ? "hang up" : nothing);
        });
        auto client = connect();
        ASSERT_TRUE(client);
        EXPECT_EQ((*client)->execute("quit").error().code, Errc::qmp_failed);
    }
    FakeMonitor mad(path_, greeting, [](const std::string& line) {
        return std::string(asks(line, "quit") ? "]]\n" : nothing);
    });
    auto client = connect();
    ASSERT_TRUE(client);
    EXPECT_EQ((*client)->execute("quit").error().code, Errc::qmp_failed);
}

TEST_F(Qmp, TheGuestAgentsLeftoversAreNotTakenForOurAnswers) {
    FakeMonitor guest(path_, "", [](const std::string& line) {
        if (!asks(line, "guest-sync")) {
            return std::string("{\"return\": 3, \"id\": $ID}\n");
        }
        const std::size_t at = line.find("\"id\":") + 5;
        return "{\"return\": \"of another client\", \"id\": 1}\n\xff{\"return\": " +
               line.substr(at, line.find('}') - at) + ", \"id\": $ID}\n";
    });
    auto client = connect(QmpClient::Dialect::guest_agent);
    ASSERT_TRUE(client) << to_string(client.error());
    const auto frozen = (*client)->execute("guest-fsfreeze-freeze");
    ASSERT_TRUE(frozen);
    EXPECT_EQ(*frozen, "3");
}

TEST(QmpMessages, AreCheckedBeforeTheyAreBelieved) {
    EXPECT_FALSE(parse_qmp_message("")) << "empty";
    EXPECT_FALSE(parse_qmp_message("[1]"));
    EXPECT_FALSE(parse_qmp_message("{\"id\": 3}"));
    EXPECT_FALSE(parse_qmp_message("{\"error\": \"text\"}"));
    EXPECT_FALSE(parse_qmp_message(std::string(100'000, '[')));
    const auto refusal = parse_qmp_message(R"({"error": {"class": 7, "desc": []}, "id": -1})");
    ASSERT_TRUE(refusal);
    EXPECT_EQ(refusal->id, 0U);
    EXPECT_EQ(refusal->text, "");
    const auto event = parse_qmp_message(R"({"event": "STOP", "data": [1], "timestamp": {}})");
    ASSERT_TRUE(event);
    EXPECT_EQ(event->kind, QmpMessage::Kind::event);
    EXPECT_EQ(event->text, "[1]");
}

TEST(QmpMessages, LinesComeInAnyPiecesAndAreBounded) {
    QmpLines lines;
    lines.feed(as_bytes("one\r\ntw"));
    EXPECT_EQ(**lines.next(), "one");
    EXPECT_FALSE(*lines.next());
    lines.feed(as_bytes("o\n\nthree"));
    EXPECT_EQ(**lines.next(), "two");
    EXPECT_EQ(**lines.next(), "");
    EXPECT_FALSE(*lines.next());
    const std::string endless(qmp_line_bytes_max, 'x');
    lines.feed(as_bytes(endless));
    EXPECT_EQ(lines.next().error().code, Errc::qmp_failed);
}

std::string one_line(std::string text) {
    std::erase(text, '\n');
    return text + "\n";
}

TEST(QemuDisks, AreTheWritableOnesUnderTheNameOfTheirDevice) {
    const auto clock = make_system_clock();
    const std::string path = testing::TempDir() + "cw_disks_" + std::to_string(::getpid());
    FakeMonitor monitor(path, greeting, [](const std::string& line) -> std::string {
        if (asks(line, "query-block")) {
            return one_line(R"({"return": [
                {"device": "", "qdev": "/machine/peripheral/vd0/virtio-backend",
                 "inserted": {"node-name": "n0", "ro": false}},
                {"device": "cd0", "inserted": {"node-name": "n1", "ro": true}},
                {"device": "floppy0"},
                {"device": "virtio1", "qdev": "/machine/peripheral-anon/device[2]",
                 "inserted": {"node-name": "#block3", "ro": false}},
                {"inserted": {"node-name": "unheard of"}}], "id": $ID})");
        }
        if (asks(line, "query-named-block-nodes")) {
            return one_line(R"({"return": [
                {"node-name": "n0", "drv": "qcow2", "image": {"virtual-size": 1048576},
                 "dirty-bitmaps": [{"name": "causeway-t-4", "recording": true},
                                   {"name": "theirs", "recording": true},
                                   {"name": "causeway-t-3", "inconsistent": true}]},
                {"node-name": "#block3", "drv": "raw", "image": {"virtual-size": 512}}],
                "id": $ID})");
        }
        return nothing;
    });
    auto machine = QemuMachine::connect(path, *clock);
    ASSERT_TRUE(machine) << to_string(machine.error());
    const auto disks = (*machine)->disks();
    ASSERT_TRUE(disks) << to_string(disks.error());
    ASSERT_EQ(disks->size(), 2U);
    EXPECT_EQ((*disks)[0].name, "vd0");
    EXPECT_EQ((*disks)[0].size_bytes, 1048576U);
    ASSERT_EQ((*disks)[0].bitmaps.size(), 2U);
    EXPECT_TRUE((*disks)[0].bitmaps[0].recording);
    EXPECT_TRUE((*disks)[0].bitmaps[1].inconsistent);
    EXPECT_EQ((*disks)[1].name, "virtio1");
    EXPECT_EQ((*disks)[1].format, "raw");
    EXPECT_TRUE((*machine)->has_guest());
}

TEST(QemuDisks, OfAStorageDaemonAreTheWritableExportsThatAreNotOurs) {
    const auto clock = make_system_clock();
    const std::string path = testing::TempDir() + "cw_volumes_" + std::to_string(::getpid());
    FakeMonitor monitor(path, greeting, [](const std::string& line) -> std::string {
        if (asks(line, "query-block-exports")) {
            return one_line(R"({"return": [
                {"id": "data", "type": "fuse", "node-name": "n0", "shutting-down": false},
                {"id": "causeway-live-0", "type": "nbd", "node-name": "n0"},
                {"id": "data-too", "type": "nbd", "node-name": "n0"},
                {"id": "read", "type": "fuse", "node-name": "n1"},
                {"id": "gone", "type": "fuse", "node-name": "n2"},
                {"type": 7}], "id": $ID})");
        }
        if (asks(line, "query-block")) {
            return one_line(R"({"return": [], "id": $ID})");
        }
        if (asks(line, "query-named-block-nodes")) {
            return one_line(R"({"return": [
                {"node-name": "n0", "drv": "raw", "ro": false, "image": {"virtual-size": 4096},
                 "dirty-bitmaps": [{"name": "causeway-t-1", "recording": true}]},
                {"node-name": "n1", "drv": "raw", "ro": true, "image": {"virtual-size": 512}}],
                "id": $ID})");
        }
        return nothing;
    });
    auto machine = QemuMachine::connect(path, *clock);
    ASSERT_TRUE(machine) << to_string(machine.error());
    const auto disks = (*machine)->disks();
    ASSERT_TRUE(disks) << to_string(disks.error());
    ASSERT_EQ(disks->size(), 1U);
    const QemuDisk& volume = disks->front();
    EXPECT_EQ(volume.name, "data");
    EXPECT_EQ(volume.size_bytes, 4096U);
    EXPECT_EQ(volume.bitmaps.size(), 1U);
    EXPECT_EQ(volume.aliases, (std::vector<std::string>{"data", "n0", "data-too"}));
    EXPECT_FALSE((*machine)->has_guest());
}

}  // namespace
}  // namespace cw::agent::test
