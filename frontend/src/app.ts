// What every page has.
import "bootstrap/js/dist/dropdown";
import htmx from "htmx.org";
import { startConnectionTest } from "./shell/connection_test";
import { startDialogs } from "./shell/dialogs";
import { startDrafts } from "./shell/drafts";
import { startForms } from "./shell/forms";
import { startHistory } from "./shell/history";
import { startLists } from "./shell/lists";
import { startMenu } from "./shell/menu";
import { startPicker } from "./shell/picker";
import { startSearch } from "./shell/search";
import { startSelection } from "./shell/selection";
import { startSession } from "./shell/session";
import { startShortcuts } from "./shell/shortcuts";
import { startTimes } from "./shell/times";
import { startToasts } from "./shell/toasts";

htmx.config.allowEval = false;
htmx.config.allowScriptTags = false;
htmx.config.includeIndicatorStyles = false;
htmx.config.selfRequestsOnly = true;
// Pages hold what people may not see after a logout: none is kept in the browser's storage.
htmx.config.historyCacheSize = 0;
htmx.config.refreshOnHistoryMiss = true;
htmx.config.scrollIntoViewOnBoost = false;
// What is fetched is bound as soon as it is there: a quick Enter must not send its form past htmx.
htmx.config.defaultSettleDelay = 0;

startMenu();
startDialogs();
startToasts();
// Before all that looks at the fields.
startDrafts();
startForms();
startConnectionTest();
startSearch();
startSelection();
startLists();
startPicker();
startHistory();
startTimes();
startShortcuts();
startSession();
document.documentElement.dataset.ready = "1";
