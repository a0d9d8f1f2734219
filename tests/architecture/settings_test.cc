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
        const std::string text = read_text(file);
        for (std::sregex_iterator at(text.begin(), text.end(), word), end; at != end; ++at) {
            unread.erase(at->str());
        }
    }
    for (const std::string& field : unread) {
        ADD_FAILURE() << "no file below appliance/ reads " << field;
    }
}

}  // namespace
}  // namespace cw::architecture
