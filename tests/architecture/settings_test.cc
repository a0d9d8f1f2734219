// A setting that nothing reads is a promise to the operator that nobody keeps.
#include "tests/architecture/source_tree.h"

#include <regex>
#include <set>

#include <gtest/gtest.h>

namespace cw::architecture {
namespace {

// The fields that config/settings.h makes of the table's rows.
std::set<std::string> setting_fields() {
    std::set<std::string> fields;
    const std::string text = read_text("config/settings.def");
    const std::regex row(R"(\nCW_(\w+)\(\s*(\w+),\s*(\w+),)");
    for (std::sregex_iterator at(text.begin(), text.end(), row), end; at != end; ++at) {
        const std::string unit = (*at)[1] == "DURATION" ? "_ms" : "";
        fields.insert((*at)[2].str() + "_" + (*at)[3].str() + unit);
    }
    return fields;
}

TEST(SettingsInUse, TheApplianceReadsEveryRowOfTheTable) {
    std::set<std::string> unread = setting_fields();
    ASSERT_GT(unread.size(), 50U);
    const std::regex word(R"(\w+)");
    for (const std::string& file : files_below("appliance", {".cc", ".h"})) {
        if (file.ends_with("appliance/cli/machine.cc")) {
            continue;  // `causeway policy` shows settings: that does not make them true.
        }
        const std::string text = read_text(file);
        for (std::sregex_iterator at(text.begin(), text.end(), word), end; at != end; ++at) {
            unread.erase(at->str());
            if (const std::string read = at->str(); read.ends_with("_of")) {
                unread.erase("points_" + read.substr(0, read.size() - 3));  // With its policies.
            }
        }
    }
    for (const std::string& field : unread) {
        ADD_FAILURE() << "no file below appliance/ reads " << field;
    }
}

}  // namespace
}  // namespace cw::architecture
