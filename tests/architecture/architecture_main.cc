#include "tests/architecture/errors_document.h"
#include "tests/architecture/source_tree.h"

#include <fstream>
#include <iostream>

#include <gtest/gtest.h>

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    if (argc == 2 && std::string_view(argv[1]) == "--update-docs") {
        std::ofstream file(cw::architecture::in_tree("docs/errors.md"), std::ios::binary);
        file << cw::architecture::errors_document();
        file.close();
        std::cout << (file ? "docs/errors.md is written\n" : "docs/errors.md cannot be written\n");
        return file ? 0 : 1;
    }
    return RUN_ALL_TESTS();
}
